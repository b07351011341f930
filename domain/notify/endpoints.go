package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// The bounds of what a tenant may ask.
const (
	mostEndpoints = 20
	mostURL       = 2000
	mostText      = 500
	mostNames     = 50
	mostName      = 200
	mostPEM       = 64 << 10
	// mostReplays bounds the replays of an endpoint that wait, and mostReplayed the numbers of one.
	mostReplays, mostReplayed = 20, 10_000
	// mostSearched bounds the deliveries that are looked at for those of a position.
	mostSearched = 100_000
	// mostListed bounds a page of deliveries.
	mostListed = 500
	// rotateFor is for how long the secret before signs on, unless the caller says how long, up to mostRotate.
	rotateFor, mostRotate = 24 * time.Hour, 30 * 24 * time.Hour
)

// writer is what is needed of ledger.Writer.
type writer interface {
	NewID() event.ID
	Write(s ledger.Stream, id event.ID, d event.Data) *event.Event
	Append(ctx context.Context, p event.Partition, e *event.Event) (event.Position, error)
}

// vault is what is needed of ledger.Vault.
type vault interface {
	Pseudonym(tenant, name string) event.Pseudonym
	SubjectKey(tenant string, subject event.Pseudonym) (event.ID, error)
	Seal(tenant string, key event.ID, class ledger.Class, version event.SealVersion, id event.ID, plain []byte) (event.Sealed, error)
}

// EndpointPorts are what Endpoints stand on. All but Changed are required.
type EndpointPorts struct {
	Store  Store
	Source Source
	Caller Caller
	Vault  vault
	Writer writer
	Now    func() time.Time
	// NewSecret makes a secret of a kind ("hmac", "ed25519"): what signs, and what a receiver checks with, which is the same for hmac.
	NewSecret func(kind string) (secret, public string, err error)
	// Changed is called after each change, so that the sender of this process looks at once.
	Changed func()
}

// Endpoints are the endpoints of tenants, for their keys: each call says whose, and finds no other tenant's. What is wrong
// with a call is a *ledger.Refusal, or ErrNoEndpoint. Every change is in the audit log before it is made: after an error
// the log may have one that was not made.
type Endpoints struct {
	p      EndpointPorts
	adding sync.Mutex // so that no more are added than a tenant may have
}

// NewEndpoints returns the endpoints that the store has.
func NewEndpoints(p EndpointPorts) *Endpoints {
	if p.Changed == nil {
		p.Changed = func() {}
	}
	return &Endpoints{p: p}
}

// Settings are what a tenant says of an endpoint. In a change nil leaves a setting as it is.
type Settings struct {
	URL, Description            *string
	Types, Programs, References *[]string
	Bodies                      *bool
	// CA and Certificate are PEM; Key is the certificate's private key. "" removes them.
	CA, Certificate, Key *string
}

// NewSecret is a secret that was just made. It is shown once.
type NewSecret struct {
	Kind string
	// Secret is what the receiver checks a signature with: the secret itself (hmac), or the public key (ed25519).
	Secret string
}

// Add adds an endpoint, which is told what happens from now on. sight is what the key may see; kind is that of the secret.
func (s *Endpoints) Add(ctx context.Context, c ledger.Caller, set *Settings, kind string, sight reading.Sight) (*Endpoint, NewSecret, error) {
	now := event.Millis(s.p.Now())
	e := &Endpoint{ID: s.p.Writer.NewID(), Tenant: c.Tenant, Sight: sight, State: Enabled, Since: now, CreatedAt: now, CreatedBy: c.Key}
	if set.URL == nil || *set.URL == "" {
		return nil, NewSecret{}, refuse("missing_field", "/url", "Give the URL that is to be called, such as https://example.com/sms.")
	}
	if err := s.set(ctx, e, set); err != nil {
		return nil, NewSecret{}, err
	}
	s.adding.Lock()
	defer s.adding.Unlock()
	all, err := s.List(ctx, c)
	if err != nil {
		return nil, NewSecret{}, err
	}
	if len(all) >= mostEndpoints {
		return nil, NewSecret{}, refuse("too_many_webhooks", "", "Your tenant has 20 webhooks. Delete one that you do not need.")
	}
	head, err := s.p.Source.Head(ctx)
	if err != nil {
		return nil, NewSecret{}, err
	}
	e.Start = head.Encode()
	shown, err := s.addSecret(e, kind)
	if err != nil {
		return nil, NewSecret{}, err
	}
	if err := s.tell(ctx, c, e.ID, event.WebhookAdded, ""); err != nil {
		return nil, NewSecret{}, err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return nil, NewSecret{}, err
	}
	if _, err := s.p.Store.Put(ctx, Stored{ID: e.ID, Tenant: e.Tenant, Body: body}, 0); err != nil {
		return nil, NewSecret{}, err
	}
	s.p.Changed()
	return e, shown, nil
}

// List are the tenant's endpoints, the oldest first.
func (s *Endpoints) List(ctx context.Context, c ledger.Caller) ([]Endpoint, error) {
	all, err := s.p.Store.Endpoints(ctx)
	if err != nil {
		return nil, err
	}
	out := []Endpoint{}
	for i := range all {
		if all[i].Tenant != c.Tenant {
			continue
		}
		e := Endpoint{}
		if err := json.Unmarshal(all[i].Body, &e); err != nil {
			return nil, fmt.Errorf("the endpoint %s in the store: %w", all[i].ID, err)
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Endpoint) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out, nil
}

// Get finds an endpoint.
func (s *Endpoints) Get(ctx context.Context, c ledger.Caller, id event.ID) (*Endpoint, error) {
	e, _, err := readEndpoint(ctx, s.p.Store, c.Tenant, id)
	return e, err
}

// readEndpoint reads an endpoint of a tenant, and its revision.
func readEndpoint(ctx context.Context, store Store, tenant string, id event.ID) (*Endpoint, int64, error) {
	at, err := store.Endpoint(ctx, id)
	if err == nil && at.Tenant != tenant {
		err = ErrNoEndpoint
	}
	if err != nil {
		return nil, 0, err
	}
	e := new(Endpoint)
	if err := json.Unmarshal(at.Body, e); err != nil {
		return nil, 0, fmt.Errorf("the endpoint %s in the store: %w", id, err)
	}
	return e, at.Revision, nil
}

// editTimes bounds how often a change is made anew because another one came between.
const editTimes = 10

// edit changes an endpoint in the store; f says whether there is anything to change. Where another change came between it
// is made once more.
func edit(ctx context.Context, store Store, tenant string, id event.ID, f func(e *Endpoint) (bool, error)) (e *Endpoint, revision int64, err error) {
	for range editTimes {
		if e, revision, err = readEndpoint(ctx, store, tenant, id); err != nil {
			return nil, 0, err
		}
		change, err := f(e)
		if err != nil || !change {
			return e, revision, err
		}
		body, err := json.Marshal(e)
		if err != nil {
			return nil, 0, err
		}
		now, err := store.Put(ctx, Stored{ID: id, Tenant: tenant, Body: body}, revision)
		if !errors.Is(err, ErrChanged) {
			return e, now, err
		}
	}
	return nil, 0, &ledger.Refusal{Code: "webhook_changed", Status: ledger.Conflict, Text: "The webhook was changed at the same time, several times. Try again."}
}

// change records a change in the audit log and makes it. f is called first without effect, to see whether it is allowed.
func (s *Endpoints) change(ctx context.Context, c ledger.Caller, id event.ID, as event.WebhookChange, why string, f func(e *Endpoint) (bool, error)) (*Endpoint, error) {
	e, err := s.Get(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if needed, err := f(e); err != nil || !needed {
		return e, err
	}
	if err := s.tell(ctx, c, id, as, why); err != nil {
		return nil, err
	}
	e, _, err = edit(ctx, s.p.Store, c.Tenant, id, f)
	if err == nil {
		s.p.Changed()
	}
	return e, err
}

// tell records a change in the audit log.
func (s *Endpoints) tell(ctx context.Context, c ledger.Caller, id event.ID, as event.WebhookChange, why string) error {
	_, err := s.p.Writer.Append(ctx, event.AuditPartition, s.p.Writer.Write(ledger.Audit(c.Tenant), s.p.Writer.NewID(), &event.WebhookChanged{Webhook: id, As: as, Why: why, By: c.Key}))
	return err
}

func refuse(code, field, text string) *ledger.Refusal {
	return &ledger.Refusal{Code: code, Field: field, Text: text}
}

// set takes settings into an endpoint, and checks all of it.
func (s *Endpoints) set(ctx context.Context, e *Endpoint, set *Settings) error {
	for _, x := range []struct {
		to, from *string
		field    string
		most     int
	}{{&e.URL, set.URL, "/url", mostURL}, {&e.Description, set.Description, "/description", mostText}, {&e.TLS.CA, set.CA, "/tls/ca", mostPEM},
		{&e.TLS.Certificate, set.Certificate, "/tls/certificate", mostPEM}} {
		if x.from == nil {
			continue
		}
		if len(*x.from) > x.most || !utf8.ValidString(*x.from) || x.most < mostPEM && strings.ContainsFunc(*x.from, unicode.IsControl) {
			return refuse("invalid_value", x.field, fmt.Sprintf("It has at most %d printable characters in UTF-8.", x.most))
		}
		*x.to = *x.from
	}
	for _, x := range []struct {
		to    *[]string
		from  *[]string
		field string
	}{{&e.Programs, set.Programs, "/programs"}, {&e.References, set.References, "/references"}} {
		if x.from == nil {
			continue
		}
		if len(*x.from) > mostNames || slices.ContainsFunc(*x.from, func(n string) bool { return n == "" || len(n) > mostName || !utf8.ValidString(n) }) {
			return refuse("invalid_value", x.field, "Give at most 50 names, of 1 to 200 characters each.")
		}
		*x.to = slices.Compact(slices.Sorted(slices.Values(*x.from)))
	}
	if set.Types != nil {
		e.Types = nil
		for _, t := range *set.Types {
			if !slices.Contains(feed.Kinds(), feed.Kind(t)) {
				return refuse("invalid_value", "/types", "The types are message.status, message.in_doubt, message.inbound, opt_out.recorded, opt_out.lifted, review.opened, review.resolved and export.finished.")
			}
			if !slices.Contains(e.Types, feed.Kind(t)) {
				e.Types = append(e.Types, feed.Kind(t))
			}
		}
	}
	if set.Bodies != nil {
		e.Bodies = *set.Bodies
	}
	if set.Key != nil {
		if len(*set.Key) > mostPEM {
			return refuse("invalid_value", "/tls/key", "A private key has at most 64 KB.")
		}
		if e.TLS.Key = nil; *set.Key != "" {
			sealed, err := s.seal(e, "pem", *set.Key)
			if err != nil {
				return err
			}
			e.TLS.Key = &sealed
		}
	}
	if (e.TLS.Certificate == "") != (e.TLS.Key == nil) {
		return refuse("invalid_value", "/tls/key", "A client's certificate and its private key come together.")
	}
	return s.p.Caller.Check(ctx, e)
}

// seal seals a secret under the endpoint's key of the vault.
func (s *Endpoints) seal(e *Endpoint, kind, plain string) (Secret, error) {
	var key event.ID
	switch {
	case len(e.Secrets) > 0:
		key = e.Secrets[0].Sealed.SubjectKey
	default:
		var err error
		if key, err = s.p.Vault.SubjectKey(e.Tenant, s.p.Vault.Pseudonym(e.Tenant, "webhook:"+e.ID.String())); err != nil {
			return Secret{}, err
		}
	}
	id := s.p.Writer.NewID()
	sealed, err := s.p.Vault.Seal(e.Tenant, key, ledger.ClassSecret, event.SealV1, id, []byte(plain))
	return Secret{Kind: kind, Sealed: sealed, ID: id, CreatedAt: event.Millis(s.p.Now())}, err
}

// addSecret makes a secret, which is the newest one.
func (s *Endpoints) addSecret(e *Endpoint, kind string) (NewSecret, error) {
	kind = cmp.Or(kind, "hmac")
	if kind != "hmac" && kind != "ed25519" {
		return NewSecret{}, refuse("invalid_value", "/secret_kind", "The kind of a secret is hmac or ed25519.")
	}
	secret, public, err := s.p.NewSecret(kind)
	if err != nil {
		return NewSecret{}, err
	}
	sealed, err := s.seal(e, kind, secret)
	if err != nil {
		return NewSecret{}, err
	}
	e.Secrets = append([]Secret{sealed}, e.Secrets...)
	return NewSecret{kind, cmp.Or(public, secret)}, nil
}

// Change changes settings. What was queued before is sent to the new URL.
func (s *Endpoints) Change(ctx context.Context, c ledger.Caller, id event.ID, set *Settings) (*Endpoint, error) {
	return s.change(ctx, c, id, event.WebhookSet, "", func(e *Endpoint) (bool, error) { return true, s.set(ctx, e, set) })
}

// Rotate makes another secret. The one before signs for as long as keep says, 24 hours if it is nil. While an older one still signs too it is
// refused, unless keep is 0: then the new one alone signs.
func (s *Endpoints) Rotate(ctx context.Context, c ledger.Caller, id event.ID, kind string, keep *time.Duration) (*Endpoint, NewSecret, error) {
	lasts := rotateFor
	if keep != nil {
		lasts = *keep
	}
	if lasts < 0 || lasts > mostRotate {
		return nil, NewSecret{}, refuse("invalid_duration", "/keep", "The secret before signs on for at most 30 days (720h); 0s ends it at once.")
	}
	var shown NewSecret
	e, err := s.change(ctx, c, id, event.WebhookRotated, "", func(e *Endpoint) (bool, error) {
		now := event.Millis(s.p.Now())
		if lasts > 0 && len(e.Secrets) > 1 && e.Secrets[1].Until.After(now) {
			return false, &ledger.Refusal{Code: "secrets_in_force", Status: ledger.Conflict, Field: "/keep",
				Text: "Two secrets sign until " + e.Secrets[1].Until.UTC().Format(time.RFC3339) + ", and a third would end the first of them for your receivers. Wait until then; or give keep as 0s, which ends both at once."}
		}
		if e.Secrets = e.Secrets[:min(len(e.Secrets), 1)]; len(e.Secrets) > 0 {
			e.Secrets[0].Until = now.Add(lasts)
			kind = cmp.Or(kind, e.Secrets[0].Kind)
		}
		var err error
		shown, err = s.addSecret(e, kind)
		return true, err
	})
	return e, shown, err
}

// Disable ends calls, until it is enabled. What happens meanwhile is told then.
func (s *Endpoints) Disable(ctx context.Context, c ledger.Caller, id event.ID) (*Endpoint, error) {
	return s.change(ctx, c, id, event.WebhookDisabled, "", func(e *Endpoint) (bool, error) {
		was := e.State
		if was != Disabled {
			e.State, e.Why, e.Since = Disabled, "a key disabled it", event.Millis(s.p.Now())
		}
		return was != Disabled, nil
	})
}

// Enable begins calls. What is open is tried at once, and anew for all of the time; also where it is enabled already, and failing.
func (s *Endpoints) Enable(ctx context.Context, c ledger.Caller, id event.ID) (*Endpoint, error) {
	return s.change(ctx, c, id, event.WebhookEnabled, "", func(e *Endpoint) (bool, error) {
		e.State, e.Why, e.Since = Enabled, "", event.Millis(s.p.Now())
		return true, nil
	})
}

// Delete removes an endpoint with its deliveries.
func (s *Endpoints) Delete(ctx context.Context, c ledger.Caller, id event.ID) error {
	if _, err := s.Get(ctx, c, id); err != nil {
		return err
	}
	if err := s.tell(ctx, c, id, event.WebhookDeleted, ""); err != nil {
		return err
	}
	err := s.p.Store.Delete(ctx, id)
	if err == nil {
		s.p.Changed()
	}
	return err
}

// Test calls an endpoint once, whatever its state, with a record of the type endpoint.test that has no number. It changes nothing.
func (s *Endpoints) Test(ctx context.Context, c ledger.Caller, id event.ID) (Answer, error) {
	e, err := s.Get(ctx, c, id)
	if err != nil {
		return Answer{}, err
	}
	call := &Call{Endpoint: e, ID: s.p.Writer.NewID().String(), At: s.p.Now()}
	call.Body, err = json.Marshal(map[string]any{"id": call.ID, "type": "endpoint.test", "version": feed.Version, "timestamp": event.Millis(call.At), "data": map[string]any{"webhook": e.ID}})
	if err != nil {
		return Answer{}, err
	}
	return s.p.Caller.Call(ctx, call), nil
}
