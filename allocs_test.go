package chirograph_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// measured are the benchmarks of the rooms that a message passes, in its order. What they allocate is compared with
// testdata/allocs.txt by make bench-check. A room's benchmarks are named by a regular expression; they run so often.
var measured = []struct {
	folder, bench, times string
}{
	{"api/v1", "^(DecodeSubmit|Submit|Read)$", "2000x"},
	{"domain/sms", "^(ParseNumber|Segments|Count|ParseReceipt)$", "2000x"},
	{"domain/places", "^(Places|Zone)$", "2000x"},
	{"domain/intake", "^Submit$", "2000x"},
	{"domain/seal", "^(Seal|Open)$", "200x"},
	{"adapters/vault", "^(SubjectKey|Digest)$", "5000x"},
	{"adapters/vault", "^(Seal|Open)$/^v/^(known|just|from)", "2000x"}, // keys of new subjects are made beside it
	{"domain/event", "^(EncodeLife|DecodeLife)$", "200x"},
	{"adapters/sqlitelog", "^Commit$/^64", "50x"},
	{"domain/recipient", "^Evolve$", "200x"},
	{"domain/decision", "^Decide$", "200x"},
	{"policies", "^Decide$", "200x"},
	{"domain/clerk", "^Life$", "640x"},
	{"adapters/smpp/wire", "^(Parse|Append)$", "200x"},
	{"adapters/smpp/client", "^(Step|ReadDelivery)$", "2000x"},
	{"domain/words", "^Read$", "200x"},
	{"domain/receipts", "^Match$", "500x"},
	{"projections", "^(Apply|Row)$", "200x"},
	{"adapters/sqldb", "^Write$/^sqlite$/^(whole|keys)$", "4000x"},
}

// allocs is what one operation of a benchmark allocates.
type allocs struct {
	objects, bytes float64
	// noise is by how many percent a run may be worse: what runs of the same program differed by when the figures
	// were written, doubled.
	noise float64
}

const (
	allocsFile = "testdata/allocs.txt"
	// leastNoise is allowed everywhere, in percent, and so are one object and 64 bytes. With more than mostNoise a
	// benchmark says nothing.
	leastNoise = 2
	mostNoise  = 40
	leastBytes = 64
)

// TestAllocations runs the benchmarks and compares what they allocate. It takes a minute, so it runs only for make
// bench-check; UPDATE=1 writes the file.
func TestAllocations(t *testing.T) {
	if os.Getenv("CHIROGRAPH_BENCH_CHECK") == "" {
		t.Skip("make bench-check runs it")
	}
	update := os.Getenv("UPDATE") != ""
	runs := 3 // the first is not counted
	if update {
		runs = 6
	}
	now := measure(t, runs)
	if update {
		for name, a := range now {
			if a.noise > mostNoise {
				t.Errorf("%s differs from run to run by %.0f %%: it cannot be compared so; let it run more often", name, a.noise/2)
			}
		}
		if t.Failed() {
			return
		}
		if err := os.WriteFile(allocsFile, writeAllocs(now), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s has the figures of %d benchmarks", allocsFile, len(now))
		return
	}
	raw, err := os.ReadFile(allocsFile)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := readAllocs(raw)
	if err != nil {
		t.Fatal(err)
	}
	changes, worse := compareAllocs(saved, now)
	for _, c := range changes {
		fmt.Println(c)
	}
	fmt.Printf("%d benchmarks, %d changed, %d worse\n", len(now), len(changes), worse)
	if worse > 0 {
		t.Errorf("%d benchmarks allocate more than %s says. If that is meant, make bench-check UPDATE=1 writes it, and the commit says why", worse, allocsFile)
	}
}

// measure runs the benchmarks of all rooms, two at a time: one is built while another runs.
func measure(t *testing.T, runs int) map[string]allocs {
	t.Helper()
	now := map[string]allocs{}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 2)
	for _, m := range measured {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out, err := runBenchmarks(m.folder, m.bench, m.times, runs)
			got, unread := readBenchmarks(m.folder, out)
			mu.Lock()
			defer mu.Unlock()
			switch err = errors.Join(err, unread); {
			case err != nil:
				t.Errorf("%s: %v\n%s", m.folder, err, out)
			case len(got) == 0:
				t.Errorf("no benchmark of %s has the name %s", m.folder, m.bench)
			}
			maps.Copy(now, got)
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return now
}

// runBenchmarks runs a room's benchmarks. Nothing is collected meanwhile: what a pool has lost to the collector would
// be made again, and counted.
func runBenchmarks(folder, bench, times string, runs int) ([]byte, error) {
	bench = strings.Replace(bench, "^", "^Benchmark", 1)
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", bench, "-benchtime", times, "-count", strconv.Itoa(runs), "-benchmem", "-cpu", "2", "./"+folder)
	cmd.Env = append(os.Environ(), "GOGC=off")
	return cmd.CombinedOutput()
}

var benchmarkLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s.*?(\d+) B/op\s+(\d+) allocs/op`)

// readBenchmarks reads what go test has printed: of several runs the least, and how they differ. The first run fills
// what is kept between operations, and is not counted.
func readBenchmarks(folder string, out []byte) (map[string]allocs, error) {
	all := map[string][]allocs{}
	s := bufio.NewScanner(bytes.NewReader(out))
	for s.Scan() {
		m := benchmarkLine.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		b, err1 := strconv.ParseFloat(m[2], 64)
		n, err2 := strconv.ParseFloat(m[3], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		name := folder + " " + m[1]
		all[name] = append(all[name], allocs{objects: n, bytes: b})
	}
	least := map[string]allocs{}
	for name, runs := range all {
		runs = runs[min(1, len(runs)-1):]
		a := runs[0]
		most := a
		for _, r := range runs {
			a.objects, a.bytes = min(a.objects, r.objects), min(a.bytes, r.bytes)
			most.objects, most.bytes = max(most.objects, r.objects), max(most.bytes, r.bytes)
		}
		a.noise = max(leastNoise, math.Ceil(2*percentMore(a.objects, most.objects)), math.Ceil(2*percentMore(a.bytes, most.bytes)))
		least[name] = a
	}
	return least, s.Err()
}

// percentMore is by how many percent b is more than a, where that is more than everything may vary by.
func percentMore(a, b float64) float64 {
	if b-a <= 1 || a == 0 {
		return 0
	}
	return 100 * (b - a) / a
}

const allocsHead = `# What one operation of each benchmark allocates: objects, bytes, and by how many percent a run may be worse.
# make bench-check compares; make bench-check UPDATE=1 writes this file.
`

func writeAllocs(all map[string]allocs) []byte {
	out := []byte(allocsHead)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a := all[name]
		out = fmt.Appendf(out, "%s\t%.0f\t%.0f\t%.0f\n", name, a.objects, a.bytes, a.noise)
	}
	return out
}

func readAllocs(raw []byte) (map[string]allocs, error) {
	out := map[string]allocs{}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: a line has not four columns: %q", allocsFile, line)
		}
		var a allocs
		for i, p := range []*float64{&a.objects, &a.bytes, &a.noise} {
			var err error
			if *p, err = strconv.ParseFloat(f[i+1], 64); err != nil {
				return nil, fmt.Errorf("%s: %w", allocsFile, err)
			}
		}
		out[f[0]] = a
	}
	return out, nil
}

// compareAllocs says what changed, in the order of the names, and how many benchmarks are worse: they allocate more
// than their noise explains, are not in the file, or have gone.
func compareAllocs(saved, now map[string]allocs) (changes []string, worse int) {
	names := slices.Collect(maps.Keys(saved))
	names = slices.AppendSeq(names, maps.Keys(now))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		a, before := saved[name]
		b, after := now[name]
		var verdict string
		switch {
		case !before:
			verdict = "is not in the file"
		case !after:
			verdict = "was not run: is it still there?"
		case isMore(a.objects, b.objects, a.noise, 1) || isMore(a.bytes, b.bytes, a.noise, leastBytes):
			verdict = "WORSE"
		case isMore(b.objects, a.objects, a.noise, 1) || isMore(b.bytes, a.bytes, a.noise, leastBytes):
			changes = append(changes, fmt.Sprintf("%s: better: %s", name, change(a, b)))
			continue
		default:
			continue
		}
		worse++
		changes = append(changes, fmt.Sprintf("%s: %s: %s", name, verdict, change(a, b)))
	}
	return changes, worse
}

func change(a, b allocs) string {
	return fmt.Sprintf("%.0f -> %.0f objects, %.0f -> %.0f bytes", a.objects, b.objects, a.bytes, b.bytes)
}

// isMore reports whether b is more than a by more than noise percent and by more than least.
func isMore(a, b, noise, least float64) bool {
	return b-a > least && b > a*(1+cmp.Or(noise, leastNoise)/100)
}

// A regression that was planted is found.
func TestAllocationsAreCompared(t *testing.T) {
	const printed = `goos: linux
BenchmarkEncodeLife-2   	     200	     99225 ns/op	    3456 B/op	      12 allocs/op
BenchmarkEncodeLife-2   	     200	      9225 ns/op	    7456 B/op	      16 allocs/op
BenchmarkEncodeLife-2   	     200	      9225 ns/op	    7456 B/op	      16 allocs/op
BenchmarkWrite/sqlite/whole-2         	    1000	 42.0 cpu-µs/message	         0 ns/op	   90000 B/op	      900 allocs/op
BenchmarkWrite/sqlite/whole-2         	    1000	 42.0 cpu-µs/message	         0 ns/op	   10000 B/op	      100 allocs/op
BenchmarkWrite/sqlite/whole-2         	    1000	 42.0 cpu-µs/message	         0 ns/op	   10500 B/op	      104 allocs/op
BenchmarkCommit/64_events-2   	      50	   9 ns/op	     100 B/op	       0 allocs/op
PASS
`
	read := func(text string) map[string]allocs {
		t.Helper()
		got, err := readBenchmarks("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	saved, err := readAllocs(writeAllocs(read(printed)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]allocs{"x EncodeLife": {16, 7456, 2}, "x Write/sqlite/whole": {100, 10000, 10}, "x Commit/64_events": {0, 100, 2}}
	if !maps.Equal(saved, want) {
		t.Fatalf("the figures are read as %v, not as %v", saved, want)
	}
	for _, c := range []struct {
		name, was, is string
		worse         int
		says          string
	}{
		{"nothing", "", "", 0, ""},
		{"one object of 16", "16 allocs", "17 allocs", 0, ""},
		{"two objects of 16", "16 allocs", "18 allocs", 1, "x EncodeLife: WORSE: 16 -> 18 objects"},
		{"fewer objects", "16 allocs", "9 allocs", 0, "x EncodeLife: better"},
		{"3 % of the bytes", "7456 B/op", "7680 B/op", 1, "x EncodeLife: WORSE"},
		{"within the noise", "10000 B/op", "10900 B/op", 0, ""},
		{"beyond the noise", "100 allocs/op\n", "111 allocs/op\n", 1, "x Write/sqlite/whole: WORSE"},
		{"where there was none", "100 B/op	       0 allocs", "100 B/op	       2 allocs", 1, "x Commit/64_events: WORSE: 0 -> 2"},
		{"a benchmark that has gone", "BenchmarkCommit/64", "BenchmarkOther/64", 2, "was not run"},
	} {
		text := printed
		if c.was != "" {
			if text = strings.ReplaceAll(printed, c.was, c.is); text == printed {
				t.Fatalf("%s: nothing was planted", c.name)
			}
			text = strings.NewReplacer("10500 B/op", "10990 B/op", "104 allocs", "115 allocs").Replace(text) // the least of two runs counts
		}
		changes, worse := compareAllocs(saved, read(text))
		if worse != c.worse || !strings.Contains(strings.Join(changes, "\n"), c.says) || (c.says == "") != (len(changes) == 0) {
			t.Errorf("%s: %d worse, %v", c.name, worse, changes)
		}
	}
	if _, err := readAllocs([]byte("x 1 2\n")); err == nil {
		t.Error("a line without its columns was read")
	}
}
