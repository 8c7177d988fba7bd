// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A counter notes when the first and the last message came.
type counter struct {
	wanted  int64
	taken   atomic.Int64
	first   atomic.Int64
	watch   atomic.Pointer[watch]
	pid     int
	stopped chan struct{}
}

func (c *counter) take() {
	count := c.taken.Add(1)
	if count == 1 {
		c.first.Store(time.Now().UnixNano())
		c.watch.Store(observe(c.pid))
	}
	if count == c.wanted {
		close(c.stopped)
	}
}

// sink is an application that takes every message, until all have come; it ends after a minute without one.
func sink(o options) map[string]any {
	c := &counter{wanted: int64(o.messages), pid: o.pid, stopped: make(chan struct{})}
	if o.grpc > 0 {
		go serveGRPC(o, c)
	} else {
		go serveHTTP(o, c)
	}
	before, quiet := int64(-1), 0
	for waiting := true; waiting; {
		select {
		case <-c.stopped:
			waiting = false
		case <-time.After(time.Second):
			if now := c.taken.Load(); now != before {
				before, quiet = now, 0
			} else if quiet++; quiet >= 60 {
				fmt.Fprintf(os.Stderr, "warning: nothing came for a minute, %d of %d messages were taken\n", now, o.messages)
				waiting = false
			}
		}
	}
	result := map[string]any{}
	elapsed := time.Since(time.Unix(0, c.first.Load())).Seconds()
	if watch := c.watch.Load(); watch != nil {
		result = watch.stop()
	}
	taken := c.taken.Load()
	result["messages"], result["seconds"] = taken, round(elapsed, 3)
	result["per_second"] = round(float64(taken)/elapsed, 1)
	if cpu, ok := result["cpu_seconds"].(float64); ok && taken > 0 {
		result["cpu_per_100k"] = round(cpu/float64(taken)*100_000, 2)
	}
	return result
}

var accepted = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

// serveHTTP answers 200 to everything; only a POST is a message.
func serveHTTP(o options, c *counter) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.http))
	if err != nil {
		fail("listen: %v", err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go answer(connection, c)
	}
}

func answer(connection net.Conn, c *counter) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for {
		length, isMessage, isFirst := 0, false, true
		for {
			line, err := reader.ReadSlice('\n')
			if err != nil {
				return
			}
			text := strings.TrimRight(string(line), "\r\n")
			if text == "" {
				break
			}
			if isFirst {
				isMessage, isFirst = strings.HasPrefix(text, "POST "), false
			} else if len(text) > 15 && strings.EqualFold(text[:15], "content-length:") {
				length, _ = strconv.Atoi(strings.TrimSpace(text[15:]))
			}
		}
		if _, err := reader.Discard(length); err != nil && err != io.EOF {
			return
		}
		if isMessage {
			c.take()
		}
		if _, err := connection.Write(accepted); err != nil {
			return
		}
	}
}
