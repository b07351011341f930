package witness

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/exportjobs"
)

// sentence says what an event of the audit log is, for a reader who is no engineer. It has no personal data.
func sentence(d event.Data) string {
	switch d := d.(type) {
	case *event.PersonalDataRead:
		return readSentence(d)
	case *event.KeyUsed:
		return usedSentence(d)
	case *event.ExportAsked:
		what := "an export"
		var s exportjobs.Scope
		if json.Unmarshal([]byte(d.Scope), &s) == nil && (s.AfterStop.IsZero() || s.StopAt != nil) {
			what = "an export of " + strings.Join(s.Words(), "; ")
		}
		data := "personal data masked"
		if d.Clear {
			data = "personal data in clear"
		}
		return "Key " + d.By + " asked for " + what + "; " + data + "." + because(d.Reason)
	case *event.ExportEnded:
		return endedSentence(d)
	case *event.ExportDownloaded:
		return "Key " + d.By + " downloaded the file of the export " + d.Export.String() + "."
	case *event.ExportDeleted:
		if d.By == "" {
			return "The file of the export " + d.Export.String() + " was deleted, because its time was over."
		}
		return "Key " + d.By + " deleted the file of the export " + d.Export.String() + "."
	case *event.MasterKeyRotated:
		return "The vault got a new master key, by " + d.By + ": " + count(d.Keys, "key") + " were wrapped under it, from " + instant(d.Began) + " to " + instant(d.Ended) + "."
	case *event.WebhookChanged:
		return webhookSentence(d)
	}
	return "An event of the type " + string(d.Type()) + "."
}

func webhookSentence(d *event.WebhookChanged) string {
	what := map[event.WebhookChange]string{event.WebhookAdded: " added the webhook ", event.WebhookSet: " changed the webhook ", event.WebhookRotated: " gave a new secret to the webhook ",
		event.WebhookPaused: " paused the webhook ", event.WebhookDisabled: " disabled the webhook ", event.WebhookEnabled: " enabled the webhook ",
		event.WebhookReplayed: " asked for a replay of the webhook ", event.WebhookDeleted: " deleted the webhook "}[d.As]
	if what == "" {
		what = " did something to the webhook "
	}
	who := "Key " + d.By
	if d.By == "" {
		who = "The server"
	}
	s := who + what + d.Webhook.String()
	if d.Why == "" {
		return s + "."
	}
	return s + ": " + strings.TrimRight(d.Why, ".") + "."
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " Reason: " + strings.TrimRight(reason, ".") + "."
}

func endedSentence(d *event.ExportEnded) string {
	s := "The export " + d.Export.String()
	switch d.As {
	case event.ExportFinished:
		s += " is finished: its file has " + count(d.Events, "event") + " in " + count(d.Size, "byte") + "."
		if !d.DeleteAfter.IsZero() {
			s += " The file will be deleted after " + instant(d.DeleteAfter) + "."
		}
		return s
	case event.ExportCancelled:
		if d.By != "" {
			return "Key " + d.By + " cancelled the export " + d.Export.String() + "."
		}
		return s + " was cancelled."
	}
	if d.Why == "" {
		return s + " failed."
	}
	return s + " failed: " + strings.TrimRight(d.Why, ".") + "."
}

func usedSentence(d *event.KeyUsed) string {
	all := make([]string, len(d.Calls))
	for i, c := range d.Calls {
		all[i] = count(c.Times, "call") + " that need"
		if c.Times == 1 {
			all[i] += "s"
		}
		all[i] += " " + c.Scope
		if c.Refused > 0 {
			all[i] += " (" + strconv.FormatInt(c.Refused, 10) + " refused: the key does not have it)"
		}
	}
	return "Key " + d.Key + " was used from " + instant(d.From) + " until " + instant(d.Until) + ": " + listed(all) + "."
}

// shownNames are the kinds of data as a sentence names them.
var shownNames = map[string]string{event.ShownNumber: "numbers", event.ShownBody: "texts", event.ShownReference: "references", event.ShownMetadata: "metadata",
	event.ShownWords: "words of persons", event.ShownEvidence: "evidence"}

// objects are what the calls show. A call that is not named here shows events.
var objects = map[string]string{"searchMessages": "message", "getMessage": "message", "getMessageEvents": "message", "listOptOuts": "opt-out", "getOptOut": "opt-out",
	"listInbound": "inbound text", "getInbound": "inbound text", "listReviews": "review", "getReview": "review"}

// theme is what reads have in common that one sentence names.
type theme struct {
	shown, object string
	// unnamed: they name no ids. For messages: the key itself had sent them.
	unnamed bool
}

// gist is what a sentence says of the reads of one theme.
type gist struct {
	theme
	ids      map[event.ID]bool
	subjects map[event.Pseudonym]bool
	several  bool // a read of it is not about one recipient
	times    int64
}

func readSentence(d *event.PersonalDataRead) string {
	var all []*gist
	known := map[theme]*gist{}
	for i := range d.Reads {
		r := &d.Reads[i]
		names := make([]string, len(r.Shown))
		for j, s := range r.Shown {
			if names[j] = shownNames[s]; names[j] == "" {
				names[j] = s
			}
		}
		t := theme{listed(names), objects[r.Call], len(r.Events) == 0}
		if t.object == "" {
			t.object = "event"
		}
		g := known[t]
		if g == nil {
			g = &gist{theme: t, ids: map[event.ID]bool{}, subjects: map[event.Pseudonym]bool{}}
			known[t], all = g, append(all, g)
		}
		for _, id := range r.Events {
			g.ids[id] = true
		}
		if r.Subject.IsZero() {
			g.several = true
		} else {
			g.subjects[r.Subject] = true
		}
		g.times += int64(r.Times)
	}
	parts := make([]string, len(all))
	for i, g := range all {
		parts[i] = g.String()
	}
	return "Key " + d.Key + " read " + strings.Join(parts, "; ") + "." + because(d.Reason)
}

func (g *gist) String() string {
	s := "the " + g.shown + " of "
	switch {
	case g.object == "review": // its ids are those of all texts and messages around it
		s += count(g.times, g.object)
	case g.unnamed && g.object == "message":
		return s + "messages that it had sent itself, in " + count(g.times, "call")
	case g.unnamed:
		return "the " + g.shown + " in " + count(g.times, "call") + " that showed no " + g.object
	default:
		s += count(int64(len(g.ids)), g.object)
	}
	if n := len(g.subjects); !g.several && n == 1 {
		s += " of one recipient"
	} else if !g.several {
		s += fmt.Sprintf(" of %d recipients", n)
	}
	return s
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// count writes a number with its noun, thousands apart.
func count(n int64, one string) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if n != 1 {
		one += "s"
	}
	return s + " " + one
}

// listed joins words as a sentence does.
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
