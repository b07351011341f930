//go:build unix

package outbound

import (
	"bufio"
	"crypto/tls"
	"io"
	"os"
	"os/exec"
	"strings"
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
	url := ""
	if key != "" {
		url = secure(t, &tls.Config{}, cert, key).URL
	} else {
		url = listen(t, always("HTTP/1.1 204 No Content\r\n\r\n")).url()
	}
	_, _ = io.WriteString(os.Stdout, url+"\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkPost is a call over a kept connection. cpu-us/op is the CPU time of this process alone, user and system.
func BenchmarkPost(b *testing.B) {
	ca := newAuthority(b)
	cert, key := ca.issue(b, "127.0.0.1", time.Now().Add(time.Hour))
	for _, scheme := range []string{"http", "https"} {
		b.Run(scheme, func(b *testing.B) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestBenchServer$")
			cmd.Env = append(os.Environ(), serverEnv+"="+cert)
			if scheme == "https" {
				cmd.Env = append(cmd.Env, serverEnv+"_KEY="+key)
			}
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
			defer func() { _ = in.Close(); _ = cmd.Wait() }()
			url, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			c := caller(b, Config{})
			r := &Request{URL: strings.TrimSpace(url), TLS: TLS{CA: ca.pem}, Pool: "tenant", Body: []byte(strings.Repeat("a", 500)),
				Headers: []Header{{"Content-Type", "application/json"}, {"User-Agent", "x"}, {"webhook-id", "0-07-1234-0"}, {"webhook-timestamp", "1700000000"}, {"webhook-signature", strings.Repeat("a", 48)}}}
			b.ReportAllocs()
			var from, to syscall.Rusage
			b.ResetTimer()
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &from)
			for b.Loop() {
				if a, err := c.Post(b.Context(), r); err != nil || a.Status != 204 {
					b.Fatal(a, err)
				}
			}
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &to)
			cpu := to.Utime.Nano() + to.Stime.Nano() - from.Utime.Nano() - from.Stime.Nano()
			b.ReportMetric(float64(cpu)/1e3/float64(b.N), "cpu-us/op")
		})
	}
}
