// probe is the test cluster's all-purpose pod: an HTTP server that shows what a pod sees,
// an application that records what is delivered to it, and an HTTP client:
//
//	probe get URL
//	probe send [-token T] [-template JSON] [-pause 20ms] [-patience 1m] URL FIRST LAST
//	          posts the template for each number, its %d replaced by it, again and again until it is accepted
//	probe invoke [-token T] HOST:PORT BINDING FIRST LAST
//	          calls Dapr's InvokeBinding over gRPC for each number
//
//	GET  /healthz            ok
//	GET  /env                the environment
//	GET  /api[?host=H:P]     lists pods through the API server with the pod's projected token
//	GET  /dns?name=N         resolves a name
//	GET  /get?url=U          fetches a URL
//	POST /any/path           records the body, answers 200 (or the number in ?status=) after ?delay=
//	GET  /received[?path=P]  the recorded bodies, one a line
//	OPTIONS /any/path        200: how a binding runtime asks whether the application wants a binding
//
// The same port speaks gRPC: Dapr's AppCallback, see grpc.go.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

type delivery struct{ path, body string }

type recorder struct {
	mutex      sync.Mutex
	deliveries []delivery
}

func (r *recorder) record(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(io.LimitReader(q.Body, 16<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	status := http.StatusOK
	if wanted := q.URL.Query().Get("status"); wanted != "" {
		if status, err = strconv.Atoi(wanted); err != nil || status < 200 || status > 599 {
			http.Error(w, "status must be a number from 200 to 599", http.StatusBadRequest)
			return
		}
	}
	delay := time.Duration(0)
	if wanted := q.URL.Query().Get("delay"); wanted != "" {
		if delay, err = time.ParseDuration(wanted); err != nil || delay < 0 || delay > time.Minute {
			http.Error(w, "delay must be a duration of at most 1m", http.StatusBadRequest)
			return
		}
	}
	r.add(delivery{q.URL.Path, string(body)})
	time.Sleep(delay)
	w.WriteHeader(status)
}

func (r *recorder) add(d delivery) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.deliveries = append(r.deliveries, d)
}

func (r *recorder) show(w http.ResponseWriter, q *http.Request) {
	path := q.URL.Query().Get("path")
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, d := range r.deliveries {
		if path == "" || path == d.path {
			fmt.Fprintln(w, d.body)
		}
	}
}

func get(w io.Writer, url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(w, response.Body)
	return err
}

// send posts numbered messages one after the other and says how many attempts it took.
func send(arguments []string) error {
	flags := flag.NewFlagSet("send", flag.ExitOnError)
	token := flags.String("token", "", "value of the header dapr-api-token")
	template := flags.String("template", `{"operation":"create","data":%d}`, "body, with %d for the number")
	patience := flags.Duration("patience", time.Minute, "longest time that one message is tried for")
	pause := flags.Duration("pause", 0, "wait between two messages")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 3 {
		return fmt.Errorf("usage: probe send [FLAG...] URL FIRST LAST")
	}
	first, err := strconv.Atoi(flags.Arg(1))
	if err != nil {
		return err
	}
	last, err := strconv.Atoi(flags.Arg(2))
	if err != nil {
		return err
	}
	attempts, refusal := 0, error(nil)
	for number := first; number <= last; number++ {
		body := strings.ReplaceAll(*template, "%d", strconv.Itoa(number))
		limit := time.Now().Add(*patience)
		for {
			attempts++
			if err = post(flags.Arg(0), *token, body); err == nil {
				break
			}
			refusal = err
			if time.Now().After(limit) {
				return fmt.Errorf("message %d: %w", number, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(*pause)
	}
	fmt.Println("accepted", last-first+1, "attempts", attempts)
	if refusal != nil {
		fmt.Println("last refusal:", refusal)
	}
	return nil
}

var poster = http.Client{Timeout: 15 * time.Second}

func post(url, token, body string) error {
	request, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("dapr-api-token", token)
	}
	response, err := poster.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", response.Status, answer)
	}
	return nil
}

func listPods(w io.Writer, host string) error {
	authority, err := os.ReadFile(serviceAccount + "ca.crt")
	if err != nil {
		return err
	}
	token, err := os.ReadFile(serviceAccount + "token")
	if err != nil {
		return err
	}
	namespace, err := os.ReadFile(serviceAccount + "namespace")
	if err != nil {
		return err
	}
	if host == "" {
		host = net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	request, err := http.NewRequest("GET", "https://"+host+"/api/v1/namespaces/"+string(namespace)+"/pods?limit=1", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 300))
	fmt.Fprintf(w, "%s via %s\n%s\n", response.Status, host, body)
	return err
}

func fallible(handler func(io.Writer, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if err := handler(w, q); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

func handlers() *http.ServeMux {
	mux, received := http.NewServeMux(), &recorder{}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, _ *http.Request) {
		for _, entry := range os.Environ() {
			fmt.Fprintln(w, entry)
		}
	})
	mux.HandleFunc("GET /api", fallible(func(w io.Writer, q *http.Request) error { return listPods(w, q.URL.Query().Get("host")) }))
	mux.HandleFunc("GET /get", fallible(func(w io.Writer, q *http.Request) error { return get(w, q.URL.Query().Get("url")) }))
	mux.HandleFunc("GET /dns", fallible(func(w io.Writer, q *http.Request) error {
		addresses, err := net.DefaultResolver.LookupHost(context.Background(), q.URL.Query().Get("name"))
		fmt.Fprintln(w, addresses)
		return err
	}))
	mux.HandleFunc("GET /received", received.show)
	mux.HandleFunc("POST /", received.record)
	appCallback(mux, received)
	mux.HandleFunc("OPTIONS /", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintln(w, "hello from", host)
	})
	return mux
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "get" {
		if err := get(os.Stdout, os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "send" {
		if err := send(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "invoke" {
		if err := invoke(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	address := ":8080"
	if wanted := os.Getenv("ADDRESS"); wanted != "" {
		address = wanted
	}
	server := &http.Server{Addr: address, Handler: handlers(), Protocols: plainHTTP2()}
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		<-signals
		log.Println("shutting down")
		_ = server.Shutdown(context.Background())
	}()
	log.Println("listening on", address, "secret", os.Getenv("DEMO_SECRET") != "")
	log.Println(server.ListenAndServe())
}
