// Package policies is the policy engine: packs of rules in Rego with their
// parameters as data, and the evaluator that asks OPA and accepts only a
// whole answer.
//
// The evaluator is a pure function of the facts and the bundle. It reads no
// clock, no network and no ledger, and the rules cannot call a builtin that does.
// OPA on its own fails open: a rule that is undefined is simply absent from the
// answer. So the evaluator accepts an answer only if it is whole: every check of
// the manifest once, in order, each with a known outcome and annotated rules.
// Everything else is an error, and the caller holds the message.
package policies

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/chirograph/chirograph/domain/decision"
)

//go:embed packs
var builtin embed.FS

// decideWithin bounds one evaluation, which takes some 50 µs. An evaluation that takes
// longer is a fault.
const decideWithin = time.Second

// Evaluator decides by one bundle. It is safe for concurrent use. Its answers never change.
type Evaluator struct {
	query    rego.PreparedEvalQuery
	revision string
	digest   string
	checks   []string
	rules    map[string]decision.Rule
	reviewed map[string]bool
	memo     memo
}

var _ decision.Policy = (*Evaluator)(nil)

// Builtin loads the packs that are built into the binary.
func Builtin() (*Evaluator, error) {
	packs, err := fs.Sub(builtin, "packs")
	if err != nil {
		return nil, err
	}
	return Load(packs)
}

// everyCountry takes the place of countries/params.json in development.
const everyCountry = `{"reviewed": {"*": {"date": "2026-11-28", "note": "Nothing was reviewed: every country may be tried in development."}}}
`

// Development loads the built-in packs for development: marketing may reach every country, reviewed or
// not. Their revision ends in -dev, and their digest is another one.
func Development() (*Evaluator, error) {
	packs, err := fs.Sub(builtin, "packs")
	if err != nil {
		return nil, err
	}
	e, err := load(packs, map[string]string{"countries/params.json": everyCountry})
	if err != nil {
		return nil, err
	}
	e.revision += "-dev"
	return e, nil
}

// Load reads a bundle: manifest.json at the root, and in the folder of each pack
// its policies (*.rego) and its parameters (params.json, which they see as
// data.<folder>). Files named *_test.rego and files of other types do not
// belong to the bundle. An error names the file or the rule that is wrong.
func Load(fsys fs.FS) (*Evaluator, error) { return load(fsys, nil) }

func load(fsys fs.FS, instead map[string]string) (*Evaluator, error) {
	b, err := readBundle(fsys, instead)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	e := &Evaluator{
		revision: b.manifest.Revision,
		digest:   b.digest,
		checks:   b.manifest.Checks,
		reviewed: b.reviewed,
	}
	if e.rules, err = b.annotations(); err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	if e.query, err = b.prepare(context.Background()); err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return e, nil
}

// Required are the checks of the manifest, in its order. Each must report on every
// message.
func (e *Evaluator) Required() []string { return slices.Clone(e.checks) }

// Bundle returns the manifest's revision, and the SHA-256 in hex over path and
// content of every file of the bundle in order of their paths, each preceded by
// its length as 8 octets, most significant first.
func (e *Evaluator) Bundle() (revision, digest string) { return e.revision, e.digest }

// Reviewed reports whether marketing may reach a country (ISO 3166-1 alpha-2), because its law was
// reviewed. "*" asks for every country there is.
func (e *Evaluator) Reviewed(country string) bool { return e.reviewed[country] || e.reviewed["*"] }

// Rule describes a rule of this bundle by its id. It reports false for an id that no
// rule of the bundle has.
func (e *Evaluator) Rule(id string) (decision.Rule, bool) {
	r, ok := e.rules[id]
	return r, ok
}

// Decide answers for the facts. An error is a fault: OPA failed or took longer
// than a second, or its answer was not whole. Equal facts may be answered from
// memory. The caller may change the answer that it gets.
func (e *Evaluator) Decide(ctx context.Context, f *decision.Facts) (*decision.Answer, error) {
	key := keys.Get().(*[]byte)
	defer keys.Put(key)
	*key = appendFacts((*key)[:0], *f)
	if a := e.memo.get(*key); a != nil {
		return clone(a), nil
	}
	a, err := e.evaluate(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	e.memo.put(string(*key), a)
	return clone(a), nil
}

func (e *Evaluator) evaluate(ctx context.Context, f *decision.Facts) (*decision.Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkClocks(f); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	var decision ast.Value
	results, err := e.query.Eval(ctx,
		rego.EvalParsedInput(objectFacts(*f)),
		rego.EvalTime(time.Unix(0, 0).UTC()),
		// The answer is read from OPA's own values; plain Go values are not needed.
		rego.EvalGenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) {
			decision = t.Value
			return nil, nil
		}),
	)
	switch {
	case err != nil:
		return nil, err
	case len(results) != 1 || decision == nil:
		return nil, errors.New("the decision is undefined: a check did not report")
	}
	return e.answer(decision, f)
}
