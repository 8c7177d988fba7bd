// The Go client's side of the client benchmark: one run, one JSON line, with the fields of tests/java/Bench.java.
//
//	bench-go-client MODE namesrv=HOST:PORT topic=T [messages=50000] [inflight=64] [size=1024] [batch=32] [timeout=120]
//
// Modes: async (callbacks, at most inflight unanswered), batch (inflight callers, batch messages a request), push (a fresh group
// reads messages from the first offset, default settings).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
)

const warmUpSends = 20

type outcome struct {
	sync.Mutex
	succeeded, failed int
	latencies         []time.Duration
	elapsed           time.Duration
}

func (o *outcome) add(count int, latency time.Duration, err error) {
	o.Lock()
	defer o.Unlock()
	if err != nil {
		if o.failed == 0 {
			fmt.Fprintln(os.Stderr, "first error:", err)
		}
		o.failed += count
		return
	}
	o.succeeded += count
	o.latencies = append(o.latencies, latency)
}

var (
	options                   = map[string]string{}
	messages, inFlight, batch int
	body                      []byte
)

func number(name string, otherwise int) int {
	value, given := options[name]
	if !given {
		return otherwise
	}
	parsed, err := strconv.Atoi(value)
	check(err)
	return parsed
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func message() *primitive.Message {
	copied := append([]byte(nil), body...)
	return primitive.NewMessage(options["topic"], copied).WithTag("A")
}

func main() {
	if len(os.Args) < 2 {
		check(fmt.Errorf("mode is missing: async, batch or push"))
	}
	for _, argument := range os.Args[2:] {
		name, value, _ := strings.Cut(argument, "=")
		options[name] = value
	}
	messages, inFlight, batch = number("messages", 50_000), number("inflight", 64), number("batch", 32)
	body = make([]byte, number("size", 1024))
	rand.New(rand.NewSource(7)).Read(body)
	rlog.SetLogLevel("error")
	mode, result := os.Args[1], &outcome{}
	var before float64
	switch mode {
	case "push":
		before = cpuSeconds()
		consume(result)
	case "async", "batch":
		p, err := rocketmq.NewProducer(producer.WithNameServer([]string{options["namesrv"]}), producer.WithGroupName("bench-go"),
			producer.WithRetry(0), producer.WithSendMsgTimeout(10*time.Second))
		check(err)
		check(p.Start())
		for range warmUpSends {
			_, err := p.SendSync(context.Background(), message())
			check(err)
		}
		before = cpuSeconds()
		began := time.Now()
		if mode == "async" {
			sendAsync(p, result)
		} else {
			sendBatches(p, result)
		}
		result.elapsed = time.Since(began)
		defer p.Shutdown()
	default:
		check(fmt.Errorf("mode %q: use async, batch or push", mode))
	}
	report(mode, result, before)
}

func sendAsync(p rocketmq.Producer, result *outcome) {
	unanswered := make(chan struct{}, inFlight)
	for range messages {
		unanswered <- struct{}{}
		began := time.Now()
		err := p.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
			result.add(1, time.Since(began), err)
			<-unanswered
		}, message())
		if err != nil {
			result.add(1, 0, err)
			<-unanswered
		}
	}
	for range inFlight {
		unanswered <- struct{}{}
	}
}

func sendBatches(p rocketmq.Producer, result *outcome) {
	var next atomic.Int64
	var callers sync.WaitGroup
	for range inFlight {
		callers.Go(func() {
			for {
				from := int(next.Add(int64(batch))) - batch
				count := min(batch, messages-from)
				if count <= 0 {
					return
				}
				list := make([]*primitive.Message, count)
				for at := range list {
					list[at] = message()
				}
				began := time.Now()
				_, err := p.SendSync(context.Background(), list...)
				result.add(count, time.Since(began), err)
			}
		})
	}
	callers.Wait()
}

func consume(result *outcome) {
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{options["namesrv"]}),
		consumer.WithGroupName(fmt.Sprintf("bench-go-%d", os.Getpid())), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	check(err)
	var count, first, last atomic.Int64
	check(c.Subscribe(options["topic"], consumer.MessageSelector{}, func(_ context.Context, received ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		now := time.Now().UnixNano()
		first.CompareAndSwap(0, now)
		last.Store(now)
		count.Add(int64(len(received)))
		return consumer.ConsumeSuccess, nil
	}))
	check(c.Start())
	end := time.Now().Add(time.Duration(number("timeout", 120)) * time.Second)
	for int(count.Load()) < messages && time.Now().Before(end) {
		time.Sleep(5 * time.Millisecond)
	}
	result.succeeded = int(count.Load())
	result.failed = max(0, messages-result.succeeded)
	result.elapsed = time.Duration(last.Load() - first.Load())
}

func report(mode string, result *outcome, before float64) {
	result.Lock()
	defer result.Unlock()
	sort.Slice(result.latencies, func(i, j int) bool { return result.latencies[i] < result.latencies[j] })
	micros := func(share float64) int64 {
		if len(result.latencies) == 0 {
			return 0
		}
		return result.latencies[int(float64(len(result.latencies)-1)*share)].Microseconds()
	}
	flight := inFlight
	if mode == "push" {
		flight = 0
	}
	cpu, seconds := cpuSeconds(), result.elapsed.Seconds()
	line, err := json.Marshal(map[string]any{
		"client": "go", "mode": mode, "inflight": flight, "messages": result.succeeded, "seconds": seconds,
		"msgs_per_s": float64(result.succeeded) / seconds, "p50_us": micros(0.5), "p99_us": micros(0.99), "cpu_seconds": cpu,
		"run_cpu_seconds": cpu - before, "run_cpu_s_per_100k": (cpu - before) * 1e5 / float64(max(1, result.succeeded)),
		"rss_mib": peakMib(), "errors": result.failed,
	})
	check(err)
	fmt.Println(string(line))
}

// cpuSeconds is user and system time of this process, as Bench.java reads it.
func cpuSeconds() float64 {
	text, err := os.ReadFile("/proc/self/stat")
	check(err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// peakMib is the highest resident memory so far.
func peakMib() float64 {
	text, err := os.ReadFile("/proc/self/status")
	check(err)
	for _, line := range strings.Split(string(text), "\n") {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}
