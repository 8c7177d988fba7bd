// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// httpCaller is a kept connection that sends one request again and again.
func httpCaller(o options) dial {
	body := fmt.Sprintf(`{"operation":"create","data":"%s"}`, strings.Repeat("x", o.size-2))
	request := []byte(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		o.path, o.address, len(body), body))
	return func(int) (call, error) {
		connection, err := net.Dial("tcp", o.address)
		if err != nil {
			return nil, err
		}
		reader := bufio.NewReader(connection)
		return func() error {
			if _, err := connection.Write(request); err != nil {
				return err
			}
			status, answer, err := readResponse(reader)
			if err == nil && (status < 200 || status > 299) {
				err = fmt.Errorf("status %d: %s", status, answer)
			}
			return err
		}, nil
	}
}

func readResponse(reader *bufio.Reader) (int, string, error) {
	status, length := 0, 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return 0, "", err
		}
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case text == "":
			body := make([]byte, length)
			_, err := io.ReadFull(reader, body)
			return status, string(body), err
		case status == 0:
			status, _ = strconv.Atoi(text[9:12])
		case len(text) > 15 && strings.EqualFold(text[:15], "content-length:"):
			length, _ = strconv.Atoi(strings.TrimSpace(text[15:]))
		}
	}
}

// raw passes bytes through as they are: messages are made by hand, so that no generated code is needed.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

// grpcCaller calls Dapr's InvokeBinding over one connection, as the SDKs do.
func grpcCaller(o options) dial {
	// InvokeBindingRequest: name = 1, data = 2, metadata = 3, operation = 4.
	request := protowire.AppendTag(nil, 1, protowire.BytesType)
	request = protowire.AppendString(request, o.binding)
	request = protowire.AppendTag(request, 2, protowire.BytesType)
	request = protowire.AppendString(request, strings.Repeat("x", o.size))
	request = protowire.AppendTag(request, 4, protowire.BytesType)
	request = protowire.AppendString(request, "create")
	connection, err := grpc.NewClient(o.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	return func(int) (call, error) {
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			var answer []byte
			return connection.Invoke(ctx, "/dapr.proto.runtime.v1.Dapr/InvokeBinding", &request, &answer)
		}, err
	}
}

// Codes of RocketMQ's remoting protocol: org.apache.rocketmq.remoting.protocol.RequestCode.
const (
	sendMessageV2    = 310
	sendBatchMessage = 320
)

// brokerCaller is a connection to the broker with one request in flight: nothing between the socket and the commit log.
func brokerCaller(o options) dial {
	body := []byte(strings.Repeat("x", o.size))
	code := sendMessageV2
	if o.batch > 1 {
		code = sendBatchMessage
		one := encodeMessage(body)
		body = nil
		for range o.batch {
			body = append(body, one...)
		}
	}
	return func(number int) (call, error) {
		connection, err := net.Dial("tcp", o.address)
		if err != nil {
			return nil, err
		}
		frame := encodeRequest(code, o, number%o.queues, body)
		reader := bufio.NewReader(connection)
		return func() error {
			if _, err := connection.Write(frame); err != nil {
				return err
			}
			return readAnswer(reader)
		}, nil
	}
}

// encodeMessage is a message of a batch: MessageDecoder.encodeMessage of Apache's client.
func encodeMessage(body []byte) []byte {
	message := binary.BigEndian.AppendUint32(nil, uint32(4+4+4+4+4+len(body)+2))
	message = binary.BigEndian.AppendUint32(message, 0)
	message = binary.BigEndian.AppendUint32(message, crc32.ChecksumIEEE(body)&0x7fffffff)
	message = binary.BigEndian.AppendUint32(message, 0)
	message = binary.BigEndian.AppendUint32(message, uint32(len(body)))
	message = append(message, body...)
	return binary.BigEndian.AppendUint16(message, 0)
}

func encodeRequest(code int, o options, queue int, body []byte) []byte {
	// SendMessageRequestHeaderV2: one letter a field.
	fields := map[string]string{
		"a": "load", "b": o.topic, "c": "TBW102", "d": strconv.Itoa(o.queues), "e": strconv.Itoa(queue), "f": "0",
		"g": strconv.FormatInt(time.Now().UnixMilli(), 10), "h": "0", "i": "", "j": "0", "k": "false", "l": "0",
		"m": strconv.FormatBool(o.batch > 1),
	}
	header, _ := json.Marshal(map[string]any{
		"code": code, "language": "OTHER", "version": 399, "opaque": 1, "flag": 0, "remark": "", "extFields": fields,
		"serializeTypeCurrentRPC": "JSON",
	})
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	frame = append(frame, header...)
	return append(frame, body...)
}

func readAnswer(reader *bufio.Reader) error {
	var length, headerLength uint32
	if err := binary.Read(reader, binary.BigEndian, &length); err != nil {
		return err
	}
	if err := binary.Read(reader, binary.BigEndian, &headerLength); err != nil {
		return err
	}
	rest := make([]byte, length-4)
	if _, err := io.ReadFull(reader, rest); err != nil {
		return err
	}
	var answer struct {
		Code   int
		Remark string
	}
	if err := json.Unmarshal(rest[:headerLength&0xffffff], &answer); err != nil {
		return err
	}
	if answer.Code != 0 {
		return fmt.Errorf("code %d: %s", answer.Code, answer.Remark)
	}
	return nil
}
