// An application of the Dapr SDK for Go: it publishes to the binding "rmq" and receives what comes back.
//
//	peer http|grpc
//
// The SDK finds the worker by DAPR_GRPC_ENDPOINT; APP_PORT is where the application listens, with either protocol. What it
// sees is printed, a JSON object a line; it ends when its standard input does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	grpcservice "github.com/dapr/go-sdk/service/grpc"
	httpservice "github.com/dapr/go-sdk/service/http"
	"google.golang.org/grpc/status"
)

var (
	printing sync.Mutex
	seen     = map[string]bool{}
)

func say(call string, result map[string]any) {
	printing.Lock()
	defer printing.Unlock()
	result["call"] = call
	line, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

func receive(_ context.Context, event *common.BindingEvent) ([]byte, error) {
	body := string(event.Data)
	say("received", map[string]any{"body": body, "metadata": event.Metadata})
	printing.Lock()
	defer printing.Unlock()
	if body == `"again"` && !seen[body] {
		seen[body] = true
		return nil, errors.New("not yet")
	}
	return nil, nil
}

func publish(ctx context.Context) error {
	client, err := dapr.NewClient()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Wait(ctx, 10*time.Second); err != nil {
		return err
	}
	answer, err := client.InvokeBinding(ctx, &dapr.InvokeBindingRequest{
		Name: "rmq", Operation: "create", Data: []byte(`{"number":1}`), Metadata: map[string]string{"rocketmq-tag": "blue"},
	})
	if err != nil {
		return err
	}
	say("create", map[string]any{"data": string(answer.Data), "metadata": answer.Metadata})
	again := &dapr.InvokeBindingRequest{Name: "rmq", Operation: "create", Data: []byte(`"again"`)}
	if err := client.InvokeOutputBinding(ctx, again); err != nil {
		return err
	}
	_, err = client.InvokeBinding(ctx, &dapr.InvokeBindingRequest{Name: "nope", Operation: "create", Data: []byte("x")})
	say("unknown", map[string]any{"code": status.Code(errors.Unwrap(err)).String(), "message": err.Error()})
	metadata, err := client.GetMetadata(ctx)
	if err != nil {
		return err
	}
	say("metadata", map[string]any{"id": metadata.ID, "components": len(metadata.RegisteredComponents)})
	return nil
}

func main() {
	address := "127.0.0.1:" + os.Getenv("APP_PORT")
	var service common.Service
	var err error
	if os.Args[1] == "http" {
		service = httpservice.NewService(address)
	} else if service, err = grpcservice.NewService(address); err != nil {
		panic(err)
	}
	route := "rmq"
	if os.Args[1] == "http" {
		route = "/rmq"
	}
	if err := service.AddBindingInvocationHandler(route, receive); err != nil {
		panic(err)
	}
	go func() {
		if err := service.Start(); err != nil {
			say("failed", map[string]any{"error": err.Error()})
		}
	}()
	if err := publish(context.Background()); err != nil {
		say("failed", map[string]any{"error": err.Error()})
	}
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
