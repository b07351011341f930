package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
)

// The bounds of the audit log's events, as domain/event says them.
const (
	maxReads      = 500
	maxReadEvents = 200
	maxKeyUsed    = time.Hour
	minReason     = 3
	maxReason     = 500
)

// export is what the checks of the audit log need of one export.
type export struct {
	tenant string
	// ended is the event that ended it; zero before.
	ended event.ID
}

// trail checks the audit log.
type trail struct{ *Pass }

// follow checks one event.
func (v trail) follow(index int64, e *event.Event) {
	if v.report.Audit == nil {
		v.report.Audit = map[event.Type]int64{}
	}
	v.report.Audit[e.Data.Type()]++
	var wrong []string
	must := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, what)
		}
	}
	reason := func(s string) bool {
		n := utf8.RuneCountInString(s)
		return n >= minReason && n <= maxReason
	}
	switch d := e.Data.(type) {
	case *event.PersonalDataRead:
		must(d.Key != "", "it names no key")
		must(d.Reason == "" || reason(d.Reason), "its reason has not 3 to 500 characters")
		must(spans(d.From, d.Until), "its times are not in order")
		must(len(d.Reads) >= 1 && len(d.Reads) <= maxReads, "it has not 1 to 500 reads")
		for _, r := range d.Reads {
			must(len(r.Events) <= maxReadEvents, "a read names more than 200 events")
			must(r.Call != "" && len(r.Shown) > 0 && r.Times >= 1, "a read lacks its call, what was shown, or how often")
		}
	case *event.KeyUsed:
		must(d.Key != "", "it names no key")
		must(spans(d.From, d.Until) && d.Until.Sub(d.From) <= maxKeyUsed, "its times are not in order, or more than an hour apart")
		must(len(d.Calls) > 0, "it counts no call")
		for _, c := range d.Calls {
			must(c.Scope != "" && c.Times >= 1 && c.Refused >= 0 && c.Refused <= c.Times, "a count lacks its scope, or is not possible")
		}
	case *event.ExportAsked:
		must(d.By != "", "it names no key")
		must(reason(d.Reason), "its reason has not 3 to 500 characters")
		must(strings.HasPrefix(d.Scope, "{") && json.Valid([]byte(d.Scope)), "its scope is no JSON object")
		must(onePerPartition(d.Heads), "its heads are not one position a partition")
		if _, ok := v.exports[e.ID]; !ok { // else it is a copy
			v.exports[e.ID] = export{tenant: e.Tenant}
		}
	case *event.ExportEnded:
		finished, file := d.As == event.ExportFinished, d.SHA256 != ""
		must(finished || d.As == event.ExportFailed || d.As == event.ExportCancelled, "it ended neither as finished nor as failed nor as cancelled")
		must(d.Events >= 0 && d.Size >= 0, "a count is below 0")
		must(!finished || file && d.Size > 0, "it is finished, and has no file")
		v.exportOf(index, e, d.Export, e.ID)
	case *event.ExportDownloaded:
		must(d.By != "", "it names no key")
		must(d.SHA256 != "", "it does not say what was downloaded")
		v.exportOf(index, e, d.Export, event.ID{})
	case *event.ExportDeleted:
		v.exportOf(index, e, d.Export, event.ID{})
	case *event.MasterKeyRotated:
		must(d.By != "", "it does not say by whom")
		must(spans(d.Began, d.Ended), "its times are not in order")
		must(d.Keys >= 2, "a vault has more keys")
	case *event.WebhookChanged:
		must(!d.Webhook.IsZero() && e.Tenant != "", "it names no endpoint, or no tenant")
		must(slices.Contains(webhookChanges, d.As), "it says nothing that is done to an endpoint")
		must(d.By != "" || d.As == event.WebhookPaused || d.As == event.WebhookDisabled, "it does not say by whom")
	}
	if len(wrong) > 0 {
		v.find(index, 0, AuditImpossible, "%s cannot be right: %s", e.Data.Type().Name(), strings.Join(compact(wrong), "; "))
	}
}

// compact leaves each text out that stands there already: a read of 500 may be wrong like another.
func compact(wrong []string) (out []string) {
	for _, s := range wrong {
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

// exportOf checks that the export that an event is about was asked for before, by the same tenant, and
// that it ends once. end is the event's own id if it ends the export.
func (v trail) exportOf(index int64, e *event.Event, id, end event.ID) {
	x, ok := v.exports[id]
	switch name := e.Data.Type().Name(); {
	case !ok:
		v.find(index, 0, ExportUnknown, "%s is about the export %s, and no ExportAsked before it has that id", name, id)
	case x.tenant != e.Tenant:
		v.find(index, 0, ExportUnknown, "%s is about the export %s, which the tenant %q asked for; the event says %q", name, id, x.tenant, e.Tenant)
	case end.IsZero() || x.ended == end: // a copy of the event that ended it
	case x.ended.IsZero():
		x.ended = end
		v.exports[id] = x
	default:
		v.find(index, 0, ExportEndedTwice, "the export %s had ended before", id)
	}
}

// spans reports whether there are both times, in order.
func spans(from, until time.Time) bool { return !from.IsZero() && !until.Before(from) }

// onePerPartition reports whether there are positions, each of another partition.
func onePerPartition(heads []string) bool {
	seen := map[event.Partition]bool{}
	for _, h := range heads {
		at, err := event.ParsePosition(h)
		if err != nil || seen[at.Partition] {
			return false
		}
		seen[at.Partition] = true
	}
	return len(seen) > 0
}

// webhookChanges are what can be done to an endpoint.
var webhookChanges = []event.WebhookChange{event.WebhookAdded, event.WebhookSet, event.WebhookRotated, event.WebhookPaused, event.WebhookDisabled,
	event.WebhookEnabled, event.WebhookReplayed, event.WebhookDeleted}
