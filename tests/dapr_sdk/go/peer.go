// An application of the Dapr SDK for Go: a client of the output "rmq", and the server of the input "rmq".
//
//	peer http|grpc
//
// The SDK finds its side by DAPR_GRPC_ENDPOINT; APP_PORT is where the application listens, with the protocol that is given. Calls and
// messages are printed, a JSON object a line (tests/dapr_compatibility/sdk/program.rs says when).
// The client has one protocol: its calls are printed with the server over gRPC only.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	grpcservice "github.com/dapr/go-sdk/service/grpc"
	httpservice "github.com/dapr/go-sdk/service/http"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

type shown map[string]string

// row is what is printed of a call or of a message.
type row struct {
	Text    string `json:"text"`
	Words   string `json:"words,omitempty"`
	Seen    shown  `json:"seen"`
	Stores  bool   `json:"stores,omitempty"`
	Differs string `json:"differs,omitempty"`
}

var (
	printing sync.Mutex
	isFirst  = true
	isHTTP   = os.Args[1] == "http"
	checks   atomic.Int32
	// Messages, and what their rows say.
	messages = []struct{ body, words string }{
		{`{"number":1}`, "the handler gets a message"},
		{"\x00\xff bytes", "the handler gets bytes"},
		{"again with InvokeOutputBinding", "the handler gets what InvokeOutputBinding has sent"},
		{"traced", "the handler gets a message with a trace"},
		{"value", "the handler returns data"},
		{"refused", "the handler returns an error the first time"},
	}
)

func say(kind string, what any) {
	printing.Lock()
	defer printing.Unlock()
	line, err := json.Marshal(map[string]any{kind: what})
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

func receive(_ context.Context, event *common.BindingEvent) ([]byte, error) {
	body := string(event.Data)
	route := "/rmq"
	if !isHTTP {
		route = "rmq"
	}
	printed := row{Text: fmt.Sprintf("service.AddBindingInvocationHandler(%q, handler)", route), Seen: shown{"Data": fmt.Sprintf("%q", body)}}
	for _, message := range messages {
		if message.body == body {
			printed.Words = message.words
		}
	}
	if isHTTP {
		printed.Words += ", over HTTP"
	}
	switch body {
	case `{"number":1}`:
		printed.Differs = "delivery"
		for name, value := range event.Metadata {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "rocketmq-") || lower == "traceparent" || lower == "content-type" {
				printed.Seen["Metadata "+name] = value
			}
		}
	case "traced":
		printed.Seen["trace"], printed.Differs = "another", "trace"
		for name, value := range event.Metadata {
			if strings.EqualFold(name, "traceparent") && strings.Contains(value, trace[3:35]) {
				printed.Seen["trace"] = "of the caller"
			}
		}
	}
	say("received", printed)
	printing.Lock()
	defer printing.Unlock()
	if body == "refused" && isFirst {
		isFirst = false
		return nil, errors.New("not yet")
	}
	if body == "value" {
		return []byte(`{"a":"value"}`), nil
	}
	return nil, nil
}

func failure(err error) shown {
	result := shown{"error": err.Error()}
	if converted, ok := status.FromError(err); ok {
		result = shown{"code": converted.Code().String(), "message": err.Error()}
		for _, detail := range converted.Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok {
				result["reason"], result["domain"] = info.GetReason(), info.GetDomain()
			}
		}
	}
	return result
}

// call prints a call, but with the server over HTTP.
func call(text string, seen shown, err error, printed row) {
	if isHTTP {
		if err != nil && printed.Stores {
			say("failed", err.Error())
		}
		return
	}
	if err != nil {
		seen = failure(err)
	}
	printed.Text, printed.Seen = text, seen
	say("call", printed)
}

func answer(event *dapr.BindingEvent) shown {
	if event == nil {
		return nil
	}
	result := shown{"returns": fmt.Sprintf("%T", event)}
	var list []map[string]any
	if json.Unmarshal(event.Data, &list) == nil && len(list) > 0 {
		keys := []string{}
		for _, key := range []string{"brokerName", "messageId", "queueId", "queueOffset", "topic"} {
			if _, ok := list[0][key]; ok {
				keys = append(keys, key)
			}
		}
		result["Data"] = "a JSON list with " + strings.Join(keys, ", ")
	}
	for name := range event.Metadata {
		result["Metadata "+name] = "…"
	}
	return result
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/dapr/go-sdk" {
			return module.Version
		}
	}
	return ""
}

// publish calls the client, and gives it back.
func publish(ctx context.Context) (dapr.Client, error) {
	client, err := dapr.NewClient()
	if err != nil {
		return nil, err
	}
	call(`import "github.com/dapr/go-sdk/client"`, shown{"version": version()}, nil, row{})
	call("client.NewClient()", shown{"returns": fmt.Sprintf("%T", client)}, nil, row{})
	call("client.Wait(ctx, 10*time.Second)", shown{"returns": "nil"}, client.Wait(ctx, 10*time.Second), row{})

	invoke := func(ctx context.Context, text string, request dapr.InvokeBindingRequest, printed row) {
		event, err := client.InvokeBinding(ctx, &request)
		call("client.InvokeBinding("+text+")", answer(event), err, printed)
	}
	create := func(text string, data string, metadata map[string]string, printed row) {
		request := dapr.InvokeBindingRequest{Name: "rmq", Operation: "create", Data: []byte(data), Metadata: metadata}
		invoke(ctx, `ctx, {Name: "rmq", Operation: "create", `+text+"}", request, printed)
	}
	blue := map[string]string{"rocketmq-tag": "blue", "rocketmq-key": "k1"}
	create(`Data: {"number":1}, Metadata: {"rocketmq-tag": "blue", "rocketmq-key": "k1"}`, `{"number":1}`, blue, row{Stores: true, Differs: "tag"})
	create(`Data: "\x00\xff bytes"`, "\x00\xff bytes", nil, row{Stores: true})
	again := dapr.InvokeBindingRequest{Name: "rmq", Operation: "create", Data: []byte("again with InvokeOutputBinding")}
	call(`client.InvokeOutputBinding(ctx, {Name: "rmq", Operation: "create", Data: …})`, shown{"returns": "nil"}, client.InvokeOutputBinding(ctx, &again), row{Stores: true})
	traced := dapr.InvokeBindingRequest{Name: "rmq", Operation: "create", Data: []byte("traced")}
	invoke(client.WithTraceID(ctx, trace), `client.WithTraceID(ctx, "…"), {Name: "rmq", Operation: "create", Data: "traced"}`, traced, row{Stores: true})
	create(`Data: "value"`, "value", nil, row{Stores: true})
	create(`Data: "refused"`, "refused", nil, row{Stores: true})
	topics := map[string]string{"rocketmq-topic": os.Getenv("OTHER_TOPICS")}
	create(`Data: "x", Metadata: {"rocketmq-topic": "<other>,<another>"}`, "x", topics, row{Differs: "topics"})
	invoke(ctx, `ctx, {Name: "rmq", Operation: "create"}`, dapr.InvokeBindingRequest{Name: "rmq", Operation: "create"}, row{Differs: "empty"})
	nope := dapr.InvokeBindingRequest{Name: "nope", Operation: "create", Data: []byte("x")}
	invoke(ctx, `ctx, {Name: "nope", Operation: "create", Data: "x"}`, nope, row{})
	call(`client.InvokeOutputBinding(ctx, {Name: "nope", Operation: "create", Data: "x"})`, nil, client.InvokeOutputBinding(ctx, &nope), row{})
	list := dapr.InvokeBindingRequest{Name: "rmq", Operation: "list", Data: []byte("x")}
	invoke(ctx, `ctx, {Name: "rmq", Operation: "list", Data: "x"}`, list, row{})
	call(`client.SetMetadata(ctx, "colour", "blue")`, shown{"returns": "nil"}, client.SetMetadata(ctx, "colour", "blue"), row{})
	metadata, err := client.GetMetadata(ctx)
	if err != nil {
		return nil, err
	}
	call("client.GetMetadata(ctx)", known(metadata), nil, row{})
	_, err = client.GetState(ctx, "store", "key", nil)
	call(`client.GetState(ctx, "store", "key", nil)`, shown{"returns": "nil"}, err, row{Differs: "state"})
	return client, nil
}

func known(metadata *dapr.GetMetadataResponse) shown {
	components := []string{}
	for _, one := range metadata.RegisteredComponents {
		components = append(components, fmt.Sprintf("%s %s %s %s", one.Name, one.Type, one.Version, strings.Join(one.Capabilities, " ")))
	}
	return shown{
		"ID":                      metadata.ID,
		"RegisteredComponents":    strings.Join(components, ", "),
		"ExtendedMetadata colour": metadata.ExtendedMetadata["colour"],
		"ActiveActorsCount":       fmt.Sprint(len(metadata.ActiveActorsCount)),
		"Subscriptions":           fmt.Sprint(len(metadata.Subscriptions)),
		"HTTPEndpoints":           fmt.Sprint(len(metadata.HTTPEndpoints)),
	}
}

func expects() [][2]any {
	expected := [][2]any{}
	for _, message := range messages {
		words, times := message.words, 1
		if isHTTP {
			words += ", over HTTP"
		}
		if message.body == "refused" {
			times = 2
		}
		expected = append(expected, [2]any{words, times})
	}
	return expected
}

func main() {
	address := "127.0.0.1:" + os.Getenv("APP_PORT")
	var service common.Service
	var err error
	route, health := "rmq", ""
	if isHTTP {
		service, route, health = httpservice.NewService(address), "/rmq", "/healthz"
	} else if service, err = grpcservice.NewService(address); err != nil {
		panic(err)
	}
	if err := service.AddBindingInvocationHandler(route, receive); err != nil {
		panic(err)
	}
	check := func(context.Context) error { checks.Add(1); return nil }
	if err := service.AddHealthCheckHandler(health, check); err != nil {
		panic(err)
	}
	go func() {
		if err := service.Start(); err != nil {
			say("failed", err.Error())
		}
	}()
	input := bufio.NewReader(os.Stdin)
	if _, err := input.ReadString('\n'); err != nil {
		panic(err)
	}
	client, err := publish(context.Background())
	if err != nil {
		say("failed", err.Error())
		os.Exit(1)
	}
	say("expects", expects())
	io.Copy(io.Discard, input)
	asked := row{Text: fmt.Sprintf("service.AddHealthCheckHandler(%q, handler)", health), Seen: shown{"called": fmt.Sprintf("%d times", checks.Load())}}
	if isHTTP {
		asked.Words = "over HTTP"
	}
	say("call", asked)
	call("client.Shutdown(ctx)", shown{"returns": "nil"}, client.Shutdown(context.Background()), row{Differs: "shutdown"})
	os.Exit(0)
}
