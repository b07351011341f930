package policies

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/chirograph/chirograph/domain/decision"
)

// The most that an answer may have. An answer with more is a fault.
const (
	maxRules   = 64   // of one check
	maxWindows = 4096 // 100 zones under 40 rules
)

// answer reads OPA's decision. An error says why it is not whole.
func (e *Evaluator) answer(v ast.Value, f *decision.Facts) (*decision.Answer, error) {
	var a decision.Answer
	err := fields(v, "the decision", func(name string, v ast.Value) (err error) {
		switch name {
		case "outcome":
			var s string
			s, err = text(v)
			a.Outcome = decision.Outcome(s)
		case "checks":
			err = elements(v, "checks", len(e.checks), func(v ast.Value) error {
				c, err := e.check(v, f)
				a.Checks = append(a.Checks, c)
				return err
			})
		case "windows":
			err = elements(v, "windows", maxWindows, func(v ast.Value) error {
				w, err := e.window(v)
				a.Windows = append(a.Windows, w)
				return err
			})
		default:
			err = errors.New("the decision has an unknown field " + name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(a.Checks) != len(e.checks) {
		return nil, fmt.Errorf("%d of %d checks reported", len(a.Checks), len(e.checks))
	}
	outcome, hours := decision.Allow, false
	for i, c := range a.Checks {
		if c.Check != e.checks[i] {
			return nil, fmt.Errorf("check %s did not report in its place", e.checks[i])
		}
		switch c.Outcome {
		case decision.Deny:
			outcome = decision.Deny
		case decision.Defer:
			hours = hours || c.Until.IsZero()
			if outcome == decision.Allow {
				outcome = decision.Defer
			}
		}
	}
	if a.Outcome != outcome {
		return nil, fmt.Errorf("the outcome is %q, but the checks make it %s", a.Outcome, outcome)
	}
	if hours && len(a.Windows) == 0 {
		return nil, errors.New("deferred without an instant or a window to wait for")
	}
	slices.SortFunc(a.Windows, func(x, y decision.Window) int {
		return cmp.Or(cmp.Compare(x.Zone, y.Zone), cmp.Compare(x.Rule, y.Rule))
	})
	return &a, nil
}

func (e *Evaluator) check(v ast.Value, f *decision.Facts) (decision.Check, error) {
	var c decision.Check
	err := fields(v, "a check", func(name string, v ast.Value) (err error) {
		switch name {
		case "check":
			c.Check, err = text(v)
		case "outcome":
			var s string
			s, err = text(v)
			c.Outcome = decision.Outcome(s)
		case "rules":
			err = elements(v, "rules", maxRules, func(v ast.Value) error {
				id, err := e.ruleID(v)
				c.Rules = append(c.Rules, id)
				return err
			})
		case "until":
			var s string
			if s, err = text(v); err == nil {
				c.Until, err = instant(s)
			}
		case "opt_outs":
			err = elements(v, "opt_outs", len(f.OptOuts), func(v ast.Value) error {
				n, ok := v.(ast.Number)
				i, whole := n.Int()
				if !ok || !whole || i < 0 || i >= len(f.OptOuts) {
					return errors.New("a check rests on an opt-out that is not in the facts")
				}
				c.OptOuts = append(c.OptOuts, i)
				return nil
			})
		default:
			err = errors.New("a check has an unknown field " + name)
		}
		return err
	})
	switch {
	case err != nil:
		return c, err
	case c.Outcome != decision.Allow && c.Outcome != decision.Deny && c.Outcome != decision.Defer:
		return c, fmt.Errorf("check %s has the unknown outcome %q", c.Check, c.Outcome)
	case !c.Until.IsZero() && c.Outcome != decision.Defer:
		return c, fmt.Errorf("check %s has an instant and does not defer", c.Check)
	case len(c.Rules) == 0:
		return c, fmt.Errorf("check %s names no rule", c.Check)
	case !ascending(c.Rules) || !ascending(c.OptOuts):
		return c, fmt.Errorf("check %s repeats a rule or an opt-out, or has them out of order", c.Check)
	}
	return c, nil
}

// instant reads the one form that an instant may have: UTC, to the second.
func instant(s string) (time.Time, error) {
	t, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil || t.Format(time.RFC3339) != s || t.Year() < 1970 {
		return t, fmt.Errorf("%q is no instant such as 2026-11-28T05:09:00Z", s)
	}
	return t, nil
}

func (e *Evaluator) window(v ast.Value) (decision.Window, error) {
	var w decision.Window
	days := 0
	err := fields(v, "a window", func(name string, v ast.Value) (err error) {
		switch name {
		case "zone":
			w.Zone, err = text(v)
		case "rule":
			w.Rule, err = e.ruleID(v)
		case "days":
			err = elements(v, "days", len(w.Days), func(v ast.Value) error {
				hours := 0
				err := elements(v, "hours", 2, func(v ast.Value) error {
					s, err := text(v)
					m, ok := minute(s)
					if err == nil && !ok {
						err = fmt.Errorf("%q is no time of day", s)
					}
					w.Days[days][hours] = m
					hours++
					return err
				})
				if err == nil && (hours != 2 || w.Days[days][0] > w.Days[days][1]) {
					err = errors.New("a window's day needs when it opens and when it closes")
				}
				days++
				return err
			})
		default:
			err = errors.New("a window has an unknown field " + name)
		}
		return err
	})
	if err == nil && (w.Zone == "" || w.Rule == "" || days != len(w.Days)) {
		err = errors.New("a window needs a zone, a rule and seven days")
	}
	return w, err
}

func (e *Evaluator) ruleID(v ast.Value) (string, error) {
	id, err := text(v)
	if err != nil {
		return "", err
	}
	if _, ok := e.rules[id]; !ok {
		return "", fmt.Errorf("the rule %q has no annotation", id)
	}
	return id, nil
}

// fields visits each field of an object.
func fields(v ast.Value, what string, visit func(name string, v ast.Value) error) error {
	o, ok := v.(ast.Object)
	if !ok {
		return fmt.Errorf("%s is no object", what)
	}
	return o.Iter(func(k, v *ast.Term) error {
		name, err := text(k.Value)
		if err != nil {
			return err
		}
		return visit(name, v.Value)
	})
}

// elements visits each element of an array or a set, and refuses one of more than limit.
func elements(v ast.Value, what string, limit int, visit func(v ast.Value) error) error {
	list, ok := v.(interface {
		Len() int
		Iter(func(*ast.Term) error) error
	})
	if !ok {
		return fmt.Errorf("%s is no list", what)
	}
	if list.Len() > limit {
		return fmt.Errorf("%s has %d elements, more than %d", what, list.Len(), limit)
	}
	return list.Iter(func(t *ast.Term) error { return visit(t.Value) })
}

func text(v ast.Value) (string, error) {
	s, ok := v.(ast.String)
	if !ok {
		return "", errors.New("the decision has something else where a string belongs")
	}
	return string(s), nil
}

func ascending[T cmp.Ordered](list []T) bool {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			return false
		}
	}
	return true
}

// clone copies an answer, so that a caller cannot change the remembered one.
func clone(a *decision.Answer) *decision.Answer {
	c := &decision.Answer{
		Outcome: a.Outcome,
		Checks:  slices.Clone(a.Checks),
		Windows: slices.Clone(a.Windows),
	}
	for i := range c.Checks {
		c.Checks[i].Rules = slices.Clone(c.Checks[i].Rules)
		c.Checks[i].OptOuts = slices.Clone(c.Checks[i].OptOuts)
	}
	return c
}
