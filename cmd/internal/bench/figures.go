package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// Figures are all that a run measured, as --json prints it.
type Figures struct {
	CPUs       int               `json:"cpus"`
	System     string            `json:"system"`
	Go         string            `json:"go"`
	Mix        bool              `json:"mix"`
	Recipients int               `json:"recipients_before"` // texted before the run
	Throughput *ThroughputReport `json:"throughput,omitempty"`
	Steady     *SteadyReport     `json:"steady,omitempty"`
}

// ThroughputReport is a run in which messages were submitted as fast as they were accepted.
type ThroughputReport struct {
	Messages  int     `json:"messages"`
	PerSecond float64 `json:"messages_per_second"` // from the first submit until all had reached their end
	Accepted  float64 `json:"accepted_per_second"`
	CPU       float64 `json:"node_cpu_us"` // a message
	Answer    timings `json:"answer"`      // submit to 202
	Sampled   int     `json:"sampled"`     // of these messages so many were delivered:
	Delivered int     `json:"delivered"`
	Seconds   float64 `json:"seconds"`
}

// timings are latencies, in milliseconds.
type timings struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func (t *timings) String() string {
	return fmt.Sprintf("p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms", t.P50, t.P90, t.P99, t.Max)
}

// figures are those of a throughput run with so many messages.
func (t *benchRun) figures(messages int) *ThroughputReport {
	n := float64(messages)
	return &ThroughputReport{Messages: messages, PerSecond: n / t.all.Seconds(), Accepted: n / t.accepted.Seconds(), CPU: t.cpu / n * 1e6,
		Answer: t.took.timings(), Sampled: t.sampled, Delivered: t.good, Seconds: t.all.Seconds()}
}

func (t *ThroughputReport) print(w io.Writer, concurrency int) {
	fmt.Fprintf(w, "throughput       %.0f messages a second end to end (%d submitted, %d of a sample of %d delivered, %.1f s)\n", t.PerSecond, t.Messages, t.Delivered, t.Sampled, t.Seconds)
	fmt.Fprintf(w, "accepted         %.0f messages a second (%d requests at once); submit to 202: %s\n", t.Accepted, concurrency, &t.Answer)
	fmt.Fprintf(w, "node             %.0f us of CPU a message\n", t.CPU)
}

// readFigures reads what an earlier run printed.
func readFigures(path string) (*Figures, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := new(Figures)
	if err := json.Unmarshal(raw, f); err != nil || f.Throughput == nil && f.Steady == nil {
		return nil, fmt.Errorf("%s has no figures: it must be what bench --json has printed", path)
	}
	return f, nil
}

// compared is a figure that two runs are compared by.
type compared struct {
	name string
	of   func(*Figures) float64
	more bool // more is better
	// floor is how much worse is no news, whatever its share: what a machine that does other things adds.
	floor float64
}

func ofThroughput(f func(*ThroughputReport) float64) func(*Figures) float64 {
	return func(x *Figures) float64 { return f(x.Throughput) }
}

func ofSteady(f func(*SteadyReport) float64) func(*Figures) float64 {
	return func(x *Figures) float64 { return f(x.Steady) }
}

var comparedThroughput = []compared{
	{"messages a second", ofThroughput(func(t *ThroughputReport) float64 { return t.PerSecond }), true, 0},
	{"accepted a second", ofThroughput(func(t *ThroughputReport) float64 { return t.Accepted }), true, 0},
	{"node CPU, us a message", ofThroughput(func(t *ThroughputReport) float64 { return t.CPU }), false, 0},
	{"submit to 202, p50 ms", ofThroughput(func(t *ThroughputReport) float64 { return t.Answer.P50 }), false, 1},
	{"submit to 202, p99 ms", ofThroughput(func(t *ThroughputReport) float64 { return t.Answer.P99 }), false, 5},
}

var comparedSteady = []compared{
	{"steady: accepted a second", ofSteady(func(s *SteadyReport) float64 { return s.Total.PerSecond }), true, 0},
	{"steady: node CPU, us a message", ofSteady(func(s *SteadyReport) float64 { return s.Total.CPU }), false, 0},
	{"steady: due to 202, p50 ms", ofSteady(func(s *SteadyReport) float64 { return s.Total.Answer.P50 }), false, 1},
	{"steady: due to 202, p99 ms", ofSteady(func(s *SteadyReport) float64 { return s.Total.Answer.P99 }), false, 5},
	{"steady: 202 to submit_sm, p50 ms", ofSteady(func(s *SteadyReport) float64 { return s.Total.Sent.P50 }), false, 1},
	{"steady: 202 to submit_sm, p99 ms", ofSteady(func(s *SteadyReport) float64 { return s.Total.Sent.P99 }), false, 5},
	{"steady: due to delivered, p50 ms", ofSteady(func(s *SteadyReport) float64 { return s.Total.Delivered.P50 }), false, 20},
	{"steady: resident memory, MB", ofSteady(func(s *SteadyReport) float64 { return s.Total.RSS }), false, 20},
	{"steady: Go heap, MB", ofSteady(func(s *SteadyReport) float64 { return s.Total.Heap }), false, 20},
	{"steady: disk, bytes a message", ofSteady(func(s *SteadyReport) float64 { return s.bytesOfMessage() }), false, 0},
	{"steady: refused and failed, a thousand", ofSteady(func(s *SteadyReport) float64 { return s.unanswered() }), false, 1},
}

// compare prints the figures of two runs with their ratios. Its error says that some are worse by more than
// tolerance percent.
func compare(w io.Writer, old, now *Figures, tolerance float64) error {
	var figures []compared
	if old.Throughput != nil && now.Throughput != nil {
		figures = append(figures, comparedThroughput...)
	}
	if old.Steady != nil && now.Steady != nil {
		figures = append(figures, comparedSteady...)
		if old.Steady.Rate != now.Steady.Rate || old.Steady.Seconds != now.Steady.Seconds {
			fmt.Fprintf(w, "The steady runs differ: %g a second for %.0f s before, %g for %.0f s now.\n", old.Steady.Rate, old.Steady.Seconds, now.Steady.Rate, now.Steady.Seconds)
		}
	}
	if len(figures) == 0 {
		return fmt.Errorf("the two runs have no figures in common")
	}
	if old.Mix != now.Mix || old.CPUs != now.CPUs || old.System != now.System {
		fmt.Fprintln(w, "The runs differ: in their messages (--mix) or in the machine.")
	}
	worse := 0
	t := terminal.Table(w)
	fmt.Fprintf(t, "\tbefore\tnow\tratio\t\n")
	for _, c := range figures {
		a, b := c.of(old), c.of(now)
		ratio, verdict := "-", ""
		if a > 0 {
			ratio = fmt.Sprintf("%.2f", b/a)
		}
		if c.isWorse(a, b, tolerance) {
			verdict = "worse"
			worse++
		}
		fmt.Fprintf(t, "%s\t%.4g\t%.4g\t%s\t%s\n", c.name, a, b, ratio, verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if worse > 0 {
		return &terminal.ExitError{Code: terminal.ExitFailed, Err: fmt.Errorf("%s worse by more than %g %%", terminal.Count(worse, "figure"), tolerance)}
	}
	return nil
}

// isWorse reports whether b is worse than a by more than tolerance percent and by more than the floor.
func (c *compared) isWorse(a, b, tolerance float64) bool {
	if c.more {
		a, b = b, a
	}
	return b > a*(1+tolerance/100) && b-a > c.floor
}
