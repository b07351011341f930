//go:build unix

package outbound

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serverEnv makes the test's binary the server of BenchmarkPost, so that its CPU time is not counted.
const serverEnv = "CHIROGRAPH_OUTBOUND_BENCH_SERVER"

// TestBenchServer is that server: it says its address, and answers until its standard input ends.
func TestBenchServer(t *testing.T) {
	cert, key := os.Getenv(serverEnv), os.Getenv(serverEnv+"_KEY")
	if cert == "" {
		t.Skip("the server of BenchmarkPost; run that")
	}
	var url string
	if key != "" {
		url = secure(t, &tls.Config{}, cert, key).URL
	} else {
		url = listen(t, always("HTTP/1.1 204 No Content\r\n\r\n")).url()
	}
	_, _ = io.WriteString(os.Stdout, url+"\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkPost is a call over a kept connection, one after the other and 16 at a time. cpu-us/op is the CPU time of this
// process alone, user and system. "octets" is the floor: one write and one read of the same octets, without HTTP.
func BenchmarkPost(b *testing.B) {
	ca := newAuthority(b)
	cert, key := ca.issue(b, "127.0.0.1", time.Now().Add(time.Hour))
	body := []byte(strings.Repeat("a", 500))
	headers := []Header{{"Content-Type", "application/json"}, {"User-Agent", "x"}, {"webhook-id", "0-07-1234-0"}, {"webhook-timestamp", "1700000000"}, {"webhook-signature", strings.Repeat("a", 48)}}
	measure := func(b *testing.B, f func()) {
		b.ReportAllocs()
		var from, to syscall.Rusage
		b.ResetTimer()
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &from)
		f()
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &to)
		cpu := to.Utime.Nano() + to.Stime.Nano() - from.Utime.Nano() - from.Stime.Nano()
		b.ReportMetric(float64(cpu)/1e3/float64(b.N), "cpu-us/op")
	}
	plain, stop := benchServer(b, cert, "")
	defer stop()
	secured, stopSecured := benchServer(b, cert, key)
	defer stopSecured()
	b.Run("octets", func(b *testing.B) {
		at, _, _ := strings.Cut(strings.TrimPrefix(plain, "http://"), "/")
		conn, err := net.Dial("tcp", at)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		request, answer := []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n"+string(body)), make([]byte, 1000)
		measure(b, func() {
			for range b.N {
				_, _ = conn.Write(request)
				_, _ = conn.Read(answer)
			}
		})
	})
	for _, url := range []string{plain, secured} {
		scheme, _, _ := strings.Cut(url, ":")
		for _, calls := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", scheme, calls), func(b *testing.B) {
				c := caller(b, Config{PerHost: calls})
				r := &Request{URL: url, TLS: TLS{CA: ca.pem}, Pool: "tenant", Body: body, Headers: headers}
				measure(b, func() {
					var all sync.WaitGroup
					var n atomic.Int64
					for range calls {
						all.Go(func() {
							for n.Add(1) <= int64(b.N) {
								if a, err := c.Post(b.Context(), r); err != nil || a.Status != 204 {
									b.Errorf("%+v, %v", a, err)
									return
								}
							}
						})
					}
					all.Wait()
				})
			})
		}
	}
}

// benchServer starts the server in a process of its own, and returns the URL.
func benchServer(b *testing.B, cert, key string) (url string, stop func()) {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchServer$")
	cmd.Env = append(os.Environ(), serverEnv+"="+cert, serverEnv+"_KEY="+key)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(url), func() { _ = in.Close(); _ = cmd.Wait() }
}
