// SPDX-License-Identifier: Apache-2.0

// Load drives the benchmarks of docs/benchmarks.md: callers of a binding's API, applications that take messages, and a bare
// producer that shows what the broker itself can do. Each run prints one JSON line.
//
//	load http   -address HOST:PORT -path /v1.0/bindings/NAME -c 64 -seconds 4 [-size 1024] [-pid PID]
//	load grpc   -address HOST:PORT -binding NAME -c 64 -seconds 4 [-size 1024] [-pid PID]
//	load broker -address HOST:PORT -topic T [-batch 32] [-queues 8] -c 8 (-seconds 4 | -n 100000) [-size 1024]
//	load sink   -http PORT | -grpc PORT -n 100000 [-pid PID]
//	load idle   -pid PID -seconds 5
//
// A caller waits for its answer before it sends again; latencies are those of whole calls. The callers of http are sockets
// with a request that is made once, so that the generator takes as little of the machine as it can.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type options struct {
	address, path, binding, topic, token     string
	callers, size, batch, queues, http, grpc int
	messages, pid                            int
	seconds                                  float64
}

// A call sends once and waits for the answer.
type call func() error

// dial makes the callers; each may be called by one goroutine only.
type dial func(number int) (call, error)

func main() {
	if len(os.Args) < 2 {
		fail("usage: load http|grpc|broker|sink|idle FLAGS; see main.go")
	}
	o := options{}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.address, "address", "127.0.0.1:3500", "host:port of the server")
	flags.StringVar(&o.path, "path", "/v1.0/bindings/bench", "path of http requests")
	flags.StringVar(&o.binding, "binding", "bench", "name of the binding")
	flags.StringVar(&o.topic, "topic", "bench", "topic of the bare producer")
	flags.IntVar(&o.callers, "c", 1, "callers at the same time")
	flags.IntVar(&o.size, "size", 1024, "bytes of a message")
	flags.IntVar(&o.batch, "batch", 1, "messages of a request of the bare producer")
	flags.IntVar(&o.queues, "queues", 8, "queues that the bare producer uses")
	flags.IntVar(&o.messages, "n", 0, "messages; 0: as many as go into -seconds")
	flags.Float64Var(&o.seconds, "seconds", 4, "time of the measured part")
	flags.IntVar(&o.http, "http", 0, "port of an application that speaks HTTP")
	flags.IntVar(&o.grpc, "grpc", 0, "port of an application that speaks gRPC")
	flags.IntVar(&o.pid, "pid", 0, "process whose CPU time and memory are taken")
	_ = flags.Parse(os.Args[2:])
	var result map[string]any
	switch os.Args[1] {
	case "http":
		result = drive(o, httpCaller(o), 1)
	case "grpc":
		result = drive(o, grpcCaller(o), 1)
	case "broker":
		result = drive(o, brokerCaller(o), o.batch)
	case "sink":
		result = sink(o)
	case "idle":
		watch := observe(o.pid)
		time.Sleep(time.Duration(o.seconds * float64(time.Second)))
		result = watch.stop()
	default:
		fail("%q is not known; use http, grpc, broker, sink or idle", os.Args[1])
	}
	line, _ := json.Marshal(result)
	fmt.Println(string(line))
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "error: "+format+"\n", values...)
	os.Exit(1)
}

// drive runs the callers: half a second to warm up, then the measured part.
func drive(o options, dial dial, messagesPerCall int) map[string]any {
	calls := make([]call, o.callers)
	for number := range calls {
		made, err := dial(number)
		if err != nil {
			fail("caller %d: %v", number, err)
		}
		calls[number] = made
	}
	if o.messages == 0 {
		run(calls, 0, 500*time.Millisecond)
	}
	watch := observe(o.pid)
	began := time.Now()
	latencies, failed, first := run(calls, o.messages/messagesPerCall, time.Duration(o.seconds*float64(time.Second)))
	elapsed := time.Since(began).Seconds()
	result := watch.stop()
	slices.Sort(latencies)
	sent := len(latencies) * messagesPerCall
	result["messages"], result["failed"], result["seconds"] = sent, failed, round(elapsed, 3)
	result["per_second"] = round(float64(sent)/elapsed, 1)
	result["p50_ms"], result["p99_ms"] = percentile(latencies, 0.50), percentile(latencies, 0.99)
	if cpu, ok := result["cpu_seconds"].(float64); ok && sent > 0 {
		result["cpu_per_100k"] = round(cpu/float64(sent)*100_000, 2)
	}
	if first != nil {
		result["first_failure"] = first.Error()
	}
	return result
}

// run lets each caller call until `count` calls were made in all, or until the time is over when it is 0.
func run(calls []call, count int, length time.Duration) ([]time.Duration, int, error) {
	var group sync.WaitGroup
	var begun, failed atomic.Int64
	var first atomic.Value
	latencies := make([][]time.Duration, len(calls))
	end := time.Now().Add(length)
	for number, call := range calls {
		group.Go(func() {
			for {
				if count > 0 && begun.Add(1) > int64(count) || count == 0 && time.Now().After(end) {
					return
				}
				started := time.Now()
				if err := call(); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, fmt.Errorf("%w", err))
					continue
				}
				latencies[number] = append(latencies[number], time.Since(started))
			}
		})
	}
	group.Wait()
	err, _ := first.Load().(error)
	return slices.Concat(latencies...), int(failed.Load()), err
}

func percentile(sorted []time.Duration, part float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return round(float64(sorted[int(float64(len(sorted)-1)*part)])/float64(time.Millisecond), 3)
}

func round(value float64, digits int) float64 {
	scale := 1.0
	for range digits {
		scale *= 10
	}
	return float64(int64(value*scale+0.5)) / scale
}
