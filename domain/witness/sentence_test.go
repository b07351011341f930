package witness

import (
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

func TestSentences(t *testing.T) {
	id := event.ID{1}
	one, two := event.Pseudonym{1}, event.Pseudonym{2}
	texts := []string{event.ShownNumber, event.ShownBody}
	for _, c := range []struct {
		d    event.Data
		want string
	}{
		{&event.PersonalDataRead{Key: "officer-2", Reason: "complaint 4711.", Reads: []event.DataRead{{Call: "getMessage", Shown: texts, Subject: one, Events: ids(3, 0), Times: 7}}},
			"Key officer-2 read the numbers and texts of 3 messages of one recipient. Reason: complaint 4711."},
		{&event.PersonalDataRead{Key: "ann", Reads: []event.DataRead{
			{Call: "getMessage", Shown: texts, Subject: one, Events: ids(3, 0), Times: 1}, {Call: "searchMessages", Shown: texts, Subject: two, Events: ids(3, 1), Times: 1},
			{Call: "getReview", Shown: []string{event.ShownWords}, Subject: one, Events: ids(9, 0), Times: 1}, {Call: "listOptOuts", Shown: []string{event.ShownEvidence}, Events: ids(2000, 0), Times: 1},
			{Call: "recipientHistory", Shown: []string{event.ShownNumber}, Subject: one, Times: 2}, {Call: "getMessage", Shown: texts, Times: 1200}}},
			"Key ann read the numbers and texts of 4 messages of 2 recipients; the words of persons of 1 review of one recipient; the evidence of 2,000 opt-outs; the numbers in 2 calls that showed no event; the numbers and texts of messages that it had sent itself, in 1,200 calls."},
		{&event.KeyUsed{Key: "ann", From: now, Until: now.Add(time.Hour), Calls: []event.KeyCalls{{Scope: "audit:export", Times: 1, Refused: 1}, {Scope: "messages:read", Times: 1200}}},
			"Key ann was used from 2026-11-24 13:40:00 UTC until 2026-11-24 14:40:00 UTC: 1 call that needs audit:export (1 refused: the key does not have it) and 1,200 calls that need messages:read."},
		{&event.ExportAsked{By: "ann", Reason: "complaint 4711", Scope: `{"program":"otp"}`, Clear: true}, "Key ann asked for an export of messages of the program otp; personal data in clear. Reason: complaint 4711."},
		{&event.ExportAsked{By: "ann", Reason: "complaint 4711", Scope: `{}`}, "Key ann asked for an export of everything; personal data masked. Reason: complaint 4711."},
		{&event.ExportAsked{By: "ann", Reason: "complaint 4711", Scope: `{"after_stop":"` + id.String() + `"}`}, "Key ann asked for an export; personal data masked. Reason: complaint 4711."},
		{&event.ExportEnded{Export: id, As: event.ExportFinished, Events: 1234, Size: 1_000_000, DeleteAfter: now}, "The export ID is finished: its file has 1,234 events in 1,000,000 bytes. The file will be deleted after 2026-11-24 13:40:00 UTC."},
		{&event.ExportEnded{Export: id, As: event.ExportCancelled, By: "ann"}, "Key ann cancelled the export ID."},
		{&event.ExportEnded{Export: id, As: event.ExportFailed, Why: "the disk is full"}, "The export ID failed: the disk is full."},
		{&event.ExportDownloaded{Export: id, By: "ann"}, "Key ann downloaded the file of the export ID."},
		{&event.ExportDeleted{Export: id, By: "ann"}, "Key ann deleted the file of the export ID."},
		{&event.ExportDeleted{Export: id}, "The file of the export ID was deleted, because its time was over."},
		{&event.MasterKeyRotated{Began: now, Ended: now.Add(time.Minute), Keys: 1234, By: "operator"},
			"The vault got a new master key, by operator: 1,234 keys were wrapped under it, from 2026-11-24 13:40:00 UTC to 2026-11-24 13:41:00 UTC."},
		{&event.WebhookChanged{Webhook: id, As: event.WebhookAdded, By: "ann"}, "Key ann added the webhook ID."},
		{&event.WebhookChanged{Webhook: id, As: event.WebhookDisabled, Why: "it answered 410 Gone"}, "The server disabled the webhook ID: it answered 410 Gone."},
	} {
		if got := strings.ReplaceAll(sentence(c.d), id.String(), "ID"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
