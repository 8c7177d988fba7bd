// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
)

// Dapr's AppCallback by frames of HTTP/2, as the HTTP application is by lines: what is measured shares its processors with the
// application, and a server library takes several times what the call costs its caller.

var (
	// :status 200 and content-type application/grpc, by HPACK's static table and without its dynamic one.
	answerHead = append([]byte{0x88, 0x0f, 0x10, 16}, "application/grpc"...)
	// grpc-status 0
	answerTail = append(append([]byte{0x00, 11}, "grpc-status"...), 1, '0')
)

func serveGRPC(o options, c *counter) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.grpc))
	if err != nil {
		fail("listen: %v", err)
	}
	// ListInputBindingsResponse: bindings = 1.
	bindings := protowire.AppendTag(nil, 1, protowire.BytesType)
	bindings = protowire.AppendString(bindings, o.binding)
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go (&grpcConnection{counter: c, bindings: grpcFrame(bindings), paths: map[uint32]string{}}).serve(connection)
	}
}

func grpcFrame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

type grpcConnection struct {
	counter  *counter
	bindings []byte
	framer   *http2.Framer
	decoder  *hpack.Decoder
	path     string
	paths    map[uint32]string
	unread   uint32
}

func (g *grpcConnection) serve(connection net.Conn) {
	defer connection.Close()
	reader, writer := bufio.NewReaderSize(connection, 64<<10), bufio.NewWriterSize(connection, 64<<10)
	if _, err := io.ReadFull(reader, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	g.framer = http2.NewFramer(writer, reader)
	g.framer.SetReuseFrames()
	g.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":path" {
			g.path = f.Value
		}
	})
	const window = 1 << 30
	err := g.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1000},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 24})
	if err == nil {
		err = g.framer.WriteWindowUpdate(0, window-65535)
	}
	for err == nil {
		if reader.Buffered() == 0 { // nothing more to answer at once
			if err = writer.Flush(); err != nil {
				return
			}
		}
		var frame http2.Frame
		if frame, err = g.framer.ReadFrame(); err == nil {
			err = g.take(frame)
		}
	}
}

func (g *grpcConnection) take(frame http2.Frame) error {
	switch frame := frame.(type) {
	case *http2.HeadersFrame:
		return g.header(frame.StreamID, frame.HeaderBlockFragment(), frame.StreamEnded())
	case *http2.ContinuationFrame:
		return g.header(frame.StreamID, frame.HeaderBlockFragment(), false)
	case *http2.DataFrame:
		if g.unread += frame.Length; g.unread > 1<<28 {
			if err := g.framer.WriteWindowUpdate(0, g.unread); err != nil {
				return err
			}
			g.unread = 0
		}
		if frame.StreamEnded() {
			return g.answer(frame.StreamID)
		}
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			return g.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !frame.IsAck() {
			return g.framer.WritePing(true, frame.Data)
		}
	case *http2.RSTStreamFrame:
		delete(g.paths, frame.StreamID)
	}
	return nil
}

func (g *grpcConnection) header(stream uint32, fragment []byte, ended bool) error {
	if _, err := g.decoder.Write(fragment); err != nil {
		return err
	}
	g.paths[stream] = g.path
	if ended {
		return g.answer(stream)
	}
	return nil
}

func (g *grpcConnection) answer(stream uint32) error {
	body := []byte{0, 0, 0, 0, 0}
	switch path := g.paths[stream]; {
	case strings.HasSuffix(path, "/OnBindingEvent"):
		g.counter.take()
	case strings.HasSuffix(path, "/ListInputBindings"):
		body = g.bindings
	}
	delete(g.paths, stream)
	if err := g.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: answerHead, EndHeaders: true}); err != nil {
		return err
	}
	if err := g.framer.WriteData(stream, false, body); err != nil {
		return err
	}
	return g.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: answerTail, EndHeaders: true, EndStream: true})
}
