package v1

import (
	"context"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
)

// noLog and noVault are of a ledger in which nothing happened.
type noLog struct{}

func (noLog) Partitions() int { return 4 }
func (noLog) Read(context.Context, event.Partition, int64, int) ([]ledger.Record, int64, error) {
	return nil, 0, nil
}

type noVault struct{}

func (noVault) Open(string, event.ID, *event.Sealed) ([]byte, error) { return nil, ledger.ErrErased }
func (noVault) Digest(string, string, []byte) string                 { return strings.Repeat("0a", 16) }

// What is wrong with a call is refused before the feed is read, also what a query string hides.
func TestChangesRefuses(t *testing.T) {
	e := newEnv(t, func(d *Deps, _ *door.Config) { d.Feed = feed.NewReader(feed.Ports{Log: noLog{}, Vault: noVault{}}) })
	for query, code := range map[string]string{
		"types=message.lost":                "bad_parameter",
		"wait=61s":                          "bad_parameter",
		"wait=-1s":                          "bad_parameter",
		"wait=soon":                         "bad_parameter",
		"limit=201":                         "bad_parameter",
		"limit=-1":                          "bad_parameter",
		"limit=x":                           "bad_parameter",
		"before=now":                        "bad_parameter",
		"types=opt_out.lifted;x=1":          "bad_parameter",
		"types=%zz":                         "bad_parameter",
		"program=a&program=b":               "bad_parameter",
		"bodies=perhaps":                    "bad_parameter",
		"after=" + strings.Repeat("A", 100): "invalid_cursor",
		"after=%00":                         "invalid_cursor",
		"after=" + strings.Repeat("x", 8_000) + "=": "invalid_cursor",
	} {
		status := map[string]int{"bad_parameter": 400, "invalid_cursor": 422}[code]
		e.do("GET", "/v1/changes?"+query, "", with("changes:read")).problem(status, code, "")
	}
	e.do("GET", "/v1/changes", "", with("messages:read")).problem(403, "forbidden", "")
}
