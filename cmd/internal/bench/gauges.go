package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// gauges are what the nodes' metrics say, all nodes together.
type gauges struct {
	cpu       float64 // seconds so far
	rss, heap float64 // bytes: resident memory, and objects of the Go heap, those to be collected too
	lag       float64 // events that the views do not have yet
}

// read asks every node.
func (b *bench) read(ctx context.Context) (all gauges, err error) {
	for _, url := range b.urls {
		m, err := b.metrics(ctx, url)
		if err != nil {
			return all, err
		}
		cpu, ok := m["process_cpu_seconds_total"]
		if !ok {
			return all, errors.New("the node's metrics have no CPU time")
		}
		all.cpu += cpu
		all.rss += m["process_resident_memory_bytes"]
		all.heap += m["go_memstats_heap_alloc_bytes"]
		all.lag += m["chirograph_views_lag_events"]
	}
	return all, nil
}

// cpu is the nodes' CPU time so far, in seconds.
func (b *bench) cpu(ctx context.Context) (float64, error) {
	g, err := b.read(ctx)
	return g.cpu, err
}

// metrics are the figures of one node that have no labels.
func (b *bench) metrics(ctx context.Context, url string) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return parseMetrics(resp.Body)
}

// parseMetrics reads the figures without labels of the text format of Prometheus.
func parseMetrics(r io.Reader) (map[string]float64, error) {
	out := map[string]float64{}
	s := bufio.NewScanner(r)
	for s.Scan() {
		name, value, ok := strings.Cut(s.Text(), " ")
		if !ok || name == "#" || strings.Contains(name, "{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("the metric %s: %w", name, err)
		}
		out[name] = v
	}
	return out, s.Err()
}

// diskOf is how many bytes the files in a data folder have; 0 for "", on a cluster.
func diskOf(dir string) (sum int64) {
	if dir == "" {
		return 0
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(dir, f.Name())); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
	}
	return sum
}

// peakOf is the most memory that the node had at a time, in bytes; 0 where the system does not say (it is read from
// /proc), and with several nodes.
func peakOf(procs []*exec.Cmd) float64 {
	if len(procs) != 1 || procs[0].Process == nil {
		return 0
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", procs[0].Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kb * 1024
		}
	}
	return 0
}
