package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// walker fills structs from YAML by their `yaml` tags. Other than a decoder it
// reports everything at once, by path and line, suggests what a misspelt field
// meant, and quotes no value, which may be a secret.
type walker struct {
	env   func(string) (string, bool)
	lines map[string]int
	wrong []Problem // what is no configuration
	later []Problem // references that lead nowhere
}

func (w *walker) bad(n *yaml.Node, path, format string, a ...any) {
	w.wrong = append(w.wrong, Problem{Path: path, Line: n.Line, Text: fmt.Sprintf(format, a...)})
}

func (w *walker) document(n *yaml.Node, v any) {
	w.value(n, reflect.ValueOf(v).Elem(), "", "")
}

func (w *walker) value(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if path != "" {
		w.lines[path] = n.Line
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		w.bad(n, path, "anchors and aliases (& and *) are not allowed here; put a text that begins with one of them in quotes")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		w.bad(n, path, "a value is missing: write one, or leave the field out")
		return
	}
	switch {
	case v.Kind() == reflect.Struct:
		w.fields(n, v, path)
	case v.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			w.bad(n, path, "it must be a list: [a, b], or one item per line after a dash")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			w.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i), tag)
		}
	case n.Kind != yaml.ScalarNode:
		w.bad(n, path, "it must be one value, not a list and not fields")
	default:
		w.scalar(n, v, path, tag)
	}
}

func (w *walker) fields(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		if path == "" {
			w.bad(n, path, "a configuration must consist of fields, such as `data: /var/lib/chirograph`")
		} else {
			w.bad(n, path, "it must have fields: `name: value`, one per line")
		}
		return
	}
	known := map[string]int{}
	var names []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
			known[name] = i
			names = append(names, name)
		}
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		at := key.Value
		if path != "" {
			at = path + "." + key.Value
		}
		f, ok := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			w.bad(key, path, "a field's name must be a word")
		case !ok:
			w.bad(key, at, "there is no such field%s", perhaps(key.Value, names))
		case seen[key.Value] > 0:
			w.bad(key, at, "it is there twice, first in line %d", seen[key.Value])
		default:
			seen[key.Value] = key.Line
			w.value(val, v.Field(f), at, v.Type().Field(f).Tag)
		}
	}
}

var (
	durationType = reflect.TypeFor[Duration]()
	sizeType     = reflect.TypeFor[Size]()
)

func (w *walker) scalar(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(n.Value)
		if err != nil {
			w.bad(n, path, "it must be a duration with its unit, such as 500ms, 20s or 1h30m")
		} else if d == 0 {
			w.bad(n, path, "it must be longer than 0")
		}
		v.SetInt(int64(d))
	case v.Type() == sizeType:
		s, err := parseSize(n.Value)
		if err != nil {
			w.bad(n, path, "it must be a whole number with the unit MB or GB, such as 700MB or 2GB")
		}
		v.SetInt(int64(s))
	case v.Kind() == reflect.Pointer: // a value that may be left out, where zero is one
		v.Set(reflect.New(v.Type().Elem()))
		w.scalar(n, v.Elem(), path, tag)
	case v.Kind() == reflect.String:
		if n.Tag != "!!str" {
			w.bad(n, path, "it must be a text: write it in quotes")
			return
		}
		_, secret := tag.Lookup("secret")
		v.SetString(w.expand(n, path, secret))
	case v.Kind() == reflect.Bool:
		if n.Tag != "!!bool" {
			w.bad(n, path, "it must be true or false")
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.Kind() == reflect.Int:
		x, err := strconv.Atoi(n.Value)
		if err != nil || n.Tag != "!!int" {
			w.bad(n, path, "it must be a whole number")
		}
		v.SetInt(int64(x))
	case v.Kind() == reflect.Float64:
		x, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || n.Tag != "!!int" && n.Tag != "!!float" {
			w.bad(n, path, "it must be a number")
		}
		v.SetFloat(x)
	default:
		panic("config: a field of type " + v.Type().String() + " cannot be read")
	}
}

// reference is how a file names a variable of the environment.
var reference = regexp.MustCompile(`\$\{[^}]*\}?`)

var variable = regexp.MustCompile(`^\$\{ENV:([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expand puts the environment's values in for references, once: what a variable
// holds is not expanded.
func (w *walker) expand(n *yaml.Node, path string, secret bool) string {
	if secret && !variable.MatchString(n.Value) {
		w.bad(n, path, "do not write a secret into the file: write ${ENV:NAME}, or use the field that names a file")
		return ""
	}
	return reference.ReplaceAllStringFunc(n.Value, func(r string) string {
		m := variable.FindStringSubmatch(r)
		if m == nil {
			w.bad(n, path, "write a reference to the environment as ${ENV:NAME}")
			return ""
		}
		value, ok := w.env(m[1])
		if !ok {
			w.later = append(w.later, Problem{Path: path, Line: n.Line, Text: "the environment has no variable " + m[1]})
		}
		return value
	})
}

// OneOf names the one of a few words that a misspelt one is near to, or else all of them.
func OneOf(word string, words []string) string {
	if near := perhaps(word, words); near != "" {
		return near
	}
	return "; it must be one of " + strings.Join(words, ", ")
}

// perhaps names the one of the words that a misspelt one is near to.
func perhaps(word string, words []string) string {
	best, at := "", 3
	for _, w := range words {
		if d := distance(strings.ToLower(word), w); d < at && d < len(w) {
			best, at = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is how many letters to add, drop, change or swap with the next make a b
// (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
