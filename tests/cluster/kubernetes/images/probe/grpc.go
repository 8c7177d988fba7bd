package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Dapr's gRPC API, as much of it as the tests need, by net/http and without generated code: an application's AppCallback, and a
// client of InvokeBinding. Fields are those of dapr.proto.runtime.v1.

const service = "/dapr.proto.runtime.v1."

// plainHTTP2 lets a server or a client speak HTTP/2 without TLS.
func plainHTTP2() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// fields reads the length-delimited fields of a protobuf message: the last value of each number.
func fields(message []byte) (map[uint64][]byte, error) {
	found := map[uint64][]byte{}
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 || tag&7 != 2 {
			return nil, fmt.Errorf("field tag %d is not one of a length-delimited field", tag)
		}
		message = message[n:]
		length, n := binary.Uvarint(message)
		if n <= 0 || length > uint64(len(message)-n) {
			return nil, errors.New("a field ends after its message")
		}
		found[tag>>3] = message[n : n+int(length)]
		message = message[n+int(length):]
	}
	return found, nil
}

func field(number uint64, value string) []byte {
	encoded := binary.AppendUvarint(nil, number<<3|2)
	encoded = binary.AppendUvarint(encoded, uint64(len(value)))
	return append(encoded, value...)
}

func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func unframe(body io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(body, head); err != nil {
		return nil, err
	}
	if head[0] != 0 {
		return nil, errors.New("a compressed message")
	}
	message, err := io.ReadAll(io.LimitReader(body, 16<<20))
	if wanted := int(binary.BigEndian.Uint32(head[1:])); err == nil && len(message) != wanted {
		err = fmt.Errorf("%d bytes instead of %d", len(message), wanted)
	}
	return message, err
}

// callback is an application's method: what it returns is the answer, its error the status INTERNAL.
func callback(method func(map[uint64][]byte) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "grpc-status, grpc-message")
		var answer []byte
		request, err := unframe(q.Body)
		if err == nil {
			var found map[uint64][]byte
			if found, err = fields(request); err == nil {
				answer, err = method(found)
			}
		}
		if err != nil {
			w.Header().Set("grpc-status", "13")
			w.Header().Set("grpc-message", err.Error())
			return
		}
		_, _ = w.Write(frame(answer))
		w.Header().Set("grpc-status", "0")
	}
}

// appCallback records events under the path /grpc/BINDING; the bindings that it lists are those of the variable GRPC_BINDINGS.
func appCallback(mux *http.ServeMux, received *recorder) {
	mux.HandleFunc("POST "+service+"AppCallback/ListInputBindings", callback(func(map[uint64][]byte) ([]byte, error) {
		var answer []byte
		for _, name := range strings.Fields(os.Getenv("GRPC_BINDINGS")) {
			answer = append(answer, field(1, name)...)
		}
		return answer, nil
	}))
	mux.HandleFunc("POST "+service+"AppCallback/OnBindingEvent", callback(func(event map[uint64][]byte) ([]byte, error) {
		received.add(delivery{"/grpc/" + string(event[1]), string(event[2])})
		return nil, nil
	}))
}

// invoke calls InvokeBinding for each number, one after the other.
func invoke(arguments []string) error {
	flags := flag.NewFlagSet("invoke", flag.ExitOnError)
	token := flags.String("token", "", "value of the metadata dapr-api-token")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 4 {
		return fmt.Errorf("usage: probe invoke [-token T] HOST:PORT BINDING FIRST LAST")
	}
	first, err := strconv.Atoi(flags.Arg(2))
	if err != nil {
		return err
	}
	last, err := strconv.Atoi(flags.Arg(3))
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{Protocols: onlyHTTP2()}}
	for number := first; number <= last; number++ {
		// name = 1, data = 2, operation = 4
		request := append(field(1, flags.Arg(1)), field(2, strconv.Itoa(number))...)
		request = append(request, field(4, "create")...)
		if err := unary(&client, flags.Arg(0), "Dapr/InvokeBinding", *token, request); err != nil {
			return fmt.Errorf("message %d: %w", number, err)
		}
	}
	fmt.Println("accepted", last-first+1)
	return nil
}

func onlyHTTP2() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

func unary(client *http.Client, address, method, token string, message []byte) error {
	request, err := http.NewRequestWithContext(context.Background(), "POST", "http://"+address+service+method, bytes.NewReader(frame(message)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	if token != "" {
		request.Header.Set("dapr-api-token", token)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	status, words := response.Trailer.Get("grpc-status"), response.Trailer.Get("grpc-message")
	if status == "" { // an answer without a message has them in its header
		status, words = response.Header.Get("grpc-status"), response.Header.Get("grpc-message")
	}
	if response.StatusCode != http.StatusOK || status != "0" {
		return fmt.Errorf("HTTP %d, grpc-status %s: %s", response.StatusCode, status, words)
	}
	return nil
}
