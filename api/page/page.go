// Package page reads an OpenAPI document: what each operation needs, and the page that shows it to a person.
package page

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/chirograph/chirograph/api/door"
)

//go:embed docs.html.tmpl
var docsTemplate string

// Operation is one of the document's, as the page and the key check need it.
type Operation struct {
	Method, Path string
	ID           string
	Summary      string
	Text         template.HTML
	// Scope is the one that a key needs; "" where no key is needed.
	Scope   string
	Params  []field
	Body    []field
	Bodies  []example
	Answers []answer
	Curl    string

	// Route is the path as echo writes it.
	Route string
	Tag   string
}

type field struct {
	Name, Type, In string
	Required       bool
	Text           template.HTML
}

type example struct{ Name, JSON string }

type answer struct {
	Status  string
	Text    template.HTML
	Fields  []field
	Example []example
}

// Document is an API's description.
type Document struct {
	// Operations are in the order of the document.
	Operations []*Operation
	// Page shows them to a person, as HTML.
	Page []byte
}

// Read reads an OpenAPI 3.1 document, as YAML.
func Read(raw []byte) (*Document, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		return nil, err
	}
	if root.Kind != yaml.DocumentNode {
		return nil, errors.New("there is no document")
	}
	doc := node{root.Content[0]}
	d := &Document{}
	paths := doc.at("paths")
	for _, path := range paths.keys() {
		item := paths.at(path)
		for _, method := range item.keys() {
			if method == "parameters" {
				continue
			}
			d.Operations = append(d.Operations, readOperation(doc, path, method, item))
		}
	}
	type group struct {
		Name       string
		Text       template.HTML
		Operations []*Operation
	}
	type schema struct {
		Name   string
		Text   template.HTML
		Fields []field
		Values string
	}
	data := struct {
		Title, Summary string
		Text           template.HTML
		Groups         []group
		Schemas        []schema
		Problems       []door.Kind
	}{Title: doc.at("info", "title").text(), Summary: doc.at("info", "summary").text(), Text: prose(doc.at("info", "description").text()), Problems: door.Kinds()}
	for _, tag := range doc.at("tags").items() {
		g := group{Name: tag.at("name").text(), Text: prose(tag.at("description").text())}
		for _, op := range d.Operations {
			if op.Tag == g.Name {
				g.Operations = append(g.Operations, op)
			}
		}
		data.Groups = append(data.Groups, g)
	}
	schemas := doc.at("components", "schemas")
	for _, name := range schemas.keys() {
		if s := schemas.at(name); name != "Problem" {
			data.Schemas = append(data.Schemas, schema{name, prose(s.at("description").text()), fields(doc, s), strings.Join(texts(s.at("enum")), ", ")})
		}
	}
	t, err := door.Template().Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "docs", data); err != nil {
		return nil, err
	}
	d.Page = b.Bytes()
	return d, nil
}

func readOperation(doc node, path, method string, item node) *Operation {
	n := item.at(method)
	op := &Operation{Method: strings.ToUpper(method), Path: path, ID: n.at("operationId").text(), Summary: n.at("summary").text(),
		Text: prose(n.at("description").text()), Tag: n.at("tags").items()[0].text(),
		Route: strings.NewReplacer("{", ":", "}", "").Replace(path)}
	for _, s := range n.at("security").items() {
		op.Scope = s.at("key").items()[0].text()
	}
	curlPath := path
	for _, p := range append(item.at("parameters").items(), n.at("parameters").items()...) {
		p = doc.resolve(p)
		op.Params = append(op.Params, field{Name: p.at("name").text(), In: p.at("in").text(), Type: p.at("schema", "type").text(),
			Required: p.at("required").text() == "true", Text: prose(p.at("description").text())})
		curlPath = strings.Replace(curlPath, "{"+p.at("name").text()+"}", p.at("example").text(), 1)
	}
	body := n.at("requestBody", "content", "application/json")
	op.Body = fields(doc, doc.resolve(body.at("schema")))
	op.Bodies = examples(body)
	statuses := n.at("responses")
	for _, status := range statuses.keys() {
		r := doc.resolve(statuses.at(status))
		a := answer{Status: status, Text: prose(r.at("description").text())}
		if content := r.at("content", "application/json"); content.v != nil {
			a.Fields, a.Example = fields(doc, doc.resolve(content.at("schema"))), examples(content)
		}
		op.Answers = append(op.Answers, a)
	}
	curl := "curl "
	if op.Method != http.MethodGet {
		curl += "-X " + op.Method + " "
	}
	curl += "http://127.0.0.1:8080" + curlPath
	if op.Scope != "" {
		curl += " \\\n  -H \"Authorization: Bearer $KEY\""
	}
	if op.ID == "SubmitMessage" {
		curl += " \\\n  -H 'Idempotency-Key: order-1001-shipped'"
	}
	if len(op.Bodies) > 0 {
		curl += " \\\n  -H 'Content-Type: application/json' \\\n  -d '" + strings.ReplaceAll(compact(op.Bodies[0].JSON), "'", `'\''`) + "'"
	}
	op.Curl = curl
	return op
}

// Query are the names of the query parameters.
func (op *Operation) Query() (names []string) {
	for _, p := range op.Params {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	return names
}

func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return text
	}
	return b.String()
}

func fields(doc, schema node) []field {
	required := texts(schema.at("required"))
	properties := schema.at("properties")
	var out []field
	for _, name := range properties.keys() {
		p := properties.at(name)
		text := p.at("description").text()
		out = append(out, field{Name: name, Type: typeName(p), Required: slices.Contains(required, name), Text: prose(text)})
	}
	return out
}

func typeName(p node) string {
	if ref := p.at("$ref").text(); ref != "" {
		return ref[strings.LastIndexByte(ref, '/')+1:]
	}
	t := p.at("type").text()
	switch {
	case t == "array":
		return "list of " + typeName(p.at("items"))
	case t == "" && len(p.at("type").items()) > 0:
		return strings.Join(texts(p.at("type")), " or ")
	}
	if f := p.at("format").text(); f != "" {
		return f
	}
	return t
}

func examples(content node) []example {
	var out []example
	if e := content.at("example"); e.v != nil {
		out = append(out, example{"", e.json()})
	}
	named := content.at("examples")
	for _, name := range named.keys() {
		out = append(out, example{name, named.at(name, "value").json()})
	}
	return out
}

func texts(n node) []string {
	var out []string
	for _, i := range n.items() {
		out = append(out, i.text())
	}
	return out
}

// prose is a description as HTML: paragraphs, and code in backticks.
func prose(text string) template.HTML {
	if text == "" {
		return ""
	}
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		b.WriteString("<p>")
		for i, piece := range strings.Split(paragraph, "`") {
			if i%2 == 1 {
				b.WriteString("<code>" + template.HTMLEscapeString(piece) + "</code>")
			} else {
				b.WriteString(template.HTMLEscapeString(piece))
			}
		}
		b.WriteString("</p>")
	}
	return template.HTML(b.String())
}

// node is a value of the document that keeps the order in which fields stand.
type node struct{ v *yaml.Node }

func (n node) at(path ...string) node {
	for _, name := range path {
		next := node{}
		if n.v != nil && n.v.Kind == yaml.MappingNode {
			for i := 0; i < len(n.v.Content); i += 2 {
				if n.v.Content[i].Value == name {
					next.v = n.v.Content[i+1]
				}
			}
		}
		n = next
	}
	return n
}

func (n node) keys() []string {
	var out []string
	if n.v != nil && n.v.Kind == yaml.MappingNode {
		for i := 0; i < len(n.v.Content); i += 2 {
			out = append(out, n.v.Content[i].Value)
		}
	}
	return out
}

func (n node) items() []node {
	var out []node
	if n.v != nil && n.v.Kind == yaml.SequenceNode {
		for _, c := range n.v.Content {
			out = append(out, node{c})
		}
	}
	return out
}

func (n node) text() string {
	if n.v == nil || n.v.Kind != yaml.ScalarNode {
		return ""
	}
	return n.v.Value
}

func (n node) resolve(ref node) node {
	if r := ref.at("$ref").text(); r != "" {
		return n.at(strings.Split(strings.TrimPrefix(r, "#/"), "/")...)
	}
	return ref
}

// json is an example as it would be sent, its fields in the order in which they stand.
func (n node) json() string {
	var b bytes.Buffer
	n.write(&b)
	var out bytes.Buffer
	if json.Indent(&out, b.Bytes(), "", "  ") != nil {
		return b.String()
	}
	return out.String()
}

func (n node) write(b *bytes.Buffer) {
	switch n.v.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i < len(n.v.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, "%q:", n.v.Content[i].Value)
			node{n.v.Content[i+1]}.write(b)
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.v.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			node{c}.write(b)
		}
		b.WriteByte(']')
	default:
		switch n.v.Tag {
		case "!!int", "!!bool", "!!null", "!!float":
			b.WriteString(n.v.Value)
		default:
			text, _ := json.Marshal(n.v.Value) // a text always has a JSON form
			b.Write(text)
		}
	}
}
