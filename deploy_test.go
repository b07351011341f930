package chirograph_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// service is what these tests look at of a service of deploy/compose.yaml.
type service struct {
	Image       string
	Build       struct{ Context, Dockerfile string }
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	DependsOn   any `yaml:"depends_on"`
}

type composition struct {
	Services map[string]service
	Volumes  map[string]any
}

func unmarshal(t *testing.T, file string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, file)), into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func exists(t *testing.T, what, file string) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		t.Errorf("%s names %s, which is not there", what, file)
	}
}

var (
	pinned   = regexp.MustCompile(`^[a-z/]+:v?[0-9][a-z0-9.-]*$`)
	variable = regexp.MustCompile(`\$\{([A-Z0-9_]+):\?`)
	setting  = regexp.MustCompile(`(?m)^([A-Z0-9_]+)=(.*)$`)
	envName  = regexp.MustCompile(`\$\{ENV:([A-Z0-9_]+)\}`)
)

// TestCompose: what deploy/compose.yaml names is there, and it opens nothing to the world.
func TestCompose(t *testing.T) {
	var c composition
	unmarshal(t, "deploy/compose.yaml", &c)
	kinds := map[string]int{}
	for name, s := range c.Services {
		kinds[strings.TrimRight(name, "-0123456789")]++
		if s.Image != "chirograph" && !pinned.MatchString(s.Image) {
			t.Errorf("%s: the image %q has no fixed version", name, s.Image)
		}
		if s.Build.Context != "" {
			exists(t, name, path.Join("deploy", s.Build.Context, s.Build.Dockerfile))
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to others than this machine", name, p)
			}
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if _, ok := c.Volumes[source]; strings.HasPrefix(source, ".") {
				exists(t, name, path.Join("deploy", source))
			} else if !ok {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
		var needs []string
		switch d := s.DependsOn.(type) {
		case map[string]any:
			needs = slices.Collect(maps.Keys(d))
		case []any:
			for _, n := range d {
				needs = append(needs, fmt.Sprint(n))
			}
		}
		for _, n := range needs {
			if _, ok := c.Services[n]; !ok {
				t.Errorf("%s depends on %s, which there is not", name, n)
			}
		}
	}
	if kinds["kafka"] != 3 || kinds["node"] != 3 {
		t.Errorf("there are %d brokers and %d nodes; three of each make a cluster", kinds["kafka"], kinds["node"])
	}

	// Whoever starts it is asked for exactly what example.env explains, and it holds no secret.
	asked, explained := map[string]bool{}, map[string]bool{}
	for _, m := range variable.FindAllStringSubmatch(read(t, "deploy/compose.yaml"), -1) {
		asked[m[1]] = true
	}
	for _, m := range setting.FindAllStringSubmatch(read(t, "deploy/example.env"), -1) {
		explained[m[1]] = true
		if m[2] != "" {
			t.Errorf("deploy/example.env sets %s", m[1])
		}
	}
	if len(asked) == 0 || !maps.Equal(asked, explained) {
		t.Errorf("compose.yaml asks for %v, example.env explains %v", slices.Sorted(maps.Keys(asked)), slices.Sorted(maps.Keys(explained)))
	}

	// The nodes are told what their file asks of the environment, each by its own name, and Prometheus asks each.
	var prometheus struct {
		Rules  []string `yaml:"rule_files"`
		Scrape []struct {
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	unmarshal(t, "deploy/prometheus/prometheus.yaml", &prometheus)
	for _, r := range prometheus.Rules {
		exists(t, "prometheus.yaml", path.Join("deploy/prometheus", r))
	}
	var targets []string
	for _, s := range prometheus.Scrape {
		for _, static := range s.Static {
			targets = append(targets, static.Targets...)
		}
	}
	for name, s := range c.Services {
		if !slices.Contains(s.Command, "/etc/chirograph/chirograph.yaml") {
			continue
		}
		for _, m := range envName.FindAllStringSubmatch(read(t, "deploy/chirograph.yaml"), -1) {
			if s.Environment[m[1]] == "" {
				t.Errorf("%s is not told %s", name, m[1])
			}
		}
		if s.Environment["CHIROGRAPH_NODE"] != name {
			t.Errorf("%s is called %q", name, s.Environment["CHIROGRAPH_NODE"])
		}
		if strings.HasPrefix(name, "node-") && !slices.Contains(targets, name+":8080") {
			t.Errorf("Prometheus does not ask %s", name)
		}
	}
}

// asksFor finds the metrics in a PromQL expression, without the suffixes of a histogram's series.
func asksFor(expr string) (out []string) {
	for _, m := range regexp.MustCompile(`\bchirograph_[a-z_]+`).FindAllString(expr, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(m, suffix); ok && strings.HasSuffix(base, "_seconds") {
				m = base
			}
		}
		out = append(out, m)
	}
	return out
}

// metricsOf reads from the code which metrics there are, and their labels where these are
// written beside the name.
func metricsOf(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	described := regexp.MustCompile(`NewDesc\("(chirograph_[a-z_]+)", "[^"]*", (?:nil|\[\]string\{([^}]*)\})`)
	for _, folder := range []string{"cmd", "api"} {
		err := fs.WalkDir(os.DirFS("."), folder, func(p string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
				return err
			}
			src := read(t, p)
			for _, m := range metricName.FindAllStringSubmatch(src, -1) {
				out[m[1]] = append(out[m[1]], "")
			}
			for _, m := range described.FindAllStringSubmatch(src, -1) {
				for l := range strings.SplitSeq(strings.ReplaceAll(m[2], `"`, ""), ", ") {
					out[m[1]] = append(out[m[1]], l)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 10 {
		t.Fatalf("the metrics were not found in the code: %v", out)
	}
	return out
}

var selector = regexp.MustCompile(`(chirograph_[a-z_]+)\{([^}]*)\}`)

// checkExpr: every metric that an expression asks for exists, and so does each label that it selects by.
func checkExpr(t *testing.T, where, expr string, metrics map[string][]string) {
	t.Helper()
	for _, m := range asksFor(expr) {
		if _, ok := metrics[m]; !ok {
			t.Errorf("%s asks for %s, which no code has", where, m)
		}
	}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		labels := metrics[s[1]]
		if len(labels) < 2 {
			continue // a metric whose labels are written elsewhere
		}
		for _, m := range regexp.MustCompile(`([a-z_]+)\s*[=!]`).FindAllStringSubmatch(s[2], -1) {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("%s selects %s by %s, which it has not", where, s[1], m[1])
			}
		}
	}
}

// TestDashboard: it parses, it asks for what there is, and it answers an operator's questions.
func TestDashboard(t *testing.T) {
	type panel struct {
		ID         int
		Title      string
		Type       string
		Datasource struct{ UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct{ Expr string }
	}
	var d struct {
		UID    string
		Panels []panel
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/dashboards/chirograph.json")), &d); err != nil {
		t.Fatal(err)
	}
	var sources struct{ Datasources []struct{ UID string } }
	unmarshal(t, "deploy/grafana/provisioning/datasources/prometheus.yaml", &sources)
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	unmarshal(t, "deploy/grafana/provisioning/dashboards/chirograph.yaml", &providers)
	if len(sources.Datasources) != 1 || len(providers.Providers) != 1 {
		t.Fatal("Grafana is provisioned with one datasource and one folder of dashboards")
	}
	var c composition
	unmarshal(t, "deploy/compose.yaml", &c)
	if !slices.Contains(c.Services["grafana"].Volumes, "./grafana/dashboards:"+providers.Providers[0].Options.Path+":ro") {
		t.Errorf("the dashboards are not mounted where Grafana looks for them")
	}

	metrics, asked := metricsOf(t), map[string]bool{}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q has no number of its own", p.Title)
		}
		ids[p.ID] = true
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panel %q lies over %q", p.Title, q.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != sources.Datasources[0].UID || len(p.Targets) == 0 {
			t.Errorf("panel %q asks %q for %d things", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			checkExpr(t, fmt.Sprintf("panel %q", p.Title), target.Expr, metrics)
			for _, m := range asksFor(target.Expr) {
				asked[m] = true
			}
		}
	}
	for _, m := range []string{"chirograph_submits_total", "chirograph_decisions_total", "chirograph_handoffs_total", "chirograph_receipts_total",
		"chirograph_views_lag_events", "chirograph_carrier_bound", "chirograph_in_doubt_total", "chirograph_oldest_seconds", "chirograph_partitions_served"} {
		if !asked[m] {
			t.Errorf("no panel shows %s", m)
		}
	}
}

// TestAlerts: each alert asks for what there is, and has a section in docs/operations.md that says
// what to do; no section is left of one that is gone.
func TestAlerts(t *testing.T) {
	var a struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	unmarshal(t, "deploy/prometheus/alerts.yaml", &a)
	metrics := metricsOf(t)
	rules, sections := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (Chirograph\w+)\n\n\S`).FindAllStringSubmatch(read(t, "docs/operations.md"), -1) {
		sections[m[1]] = true
	}
	for _, g := range a.Groups {
		for _, r := range g.Rules {
			if rules[r.Alert] {
				t.Errorf("%s stands twice", r.Alert)
			}
			rules[r.Alert] = true
			checkExpr(t, r.Alert, r.Expr, metrics)
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s has the severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" {
				t.Errorf("%s has no summary", r.Alert)
			}
			if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
				t.Errorf("the runbook of %s is %q, not %q", r.Alert, r.Annotations["runbook"], want)
			}
		}
	}
	if len(rules) == 0 || !maps.Equal(rules, sections) {
		t.Errorf("the alerts are\n%v,\nthe sections of docs/operations.md\n%v", slices.Sorted(maps.Keys(rules)), slices.Sorted(maps.Keys(sections)))
	}
}
