package ledger

import (
	"github.com/chirograph/chirograph/domain/event"
)

// ClassKey names a class key of the vault.
type ClassKey struct {
	Tenant string
	Class  string // with its month: "message/2026-11"
}

// Keys are keys of the vault, by their names.
type Keys struct {
	Subjects map[event.ID]struct{}
	Classes  map[ClassKey]struct{}
}

// Add adds the keys that an event names: those under which its personal data is sealed.
func (k *Keys) Add(e *event.Event) {
	s := sealedIn(e.Data)
	if s == nil {
		return
	}
	if k.Subjects == nil {
		k.Subjects, k.Classes = map[event.ID]struct{}{}, map[ClassKey]struct{}{}
	}
	k.Subjects[s.SubjectKey] = struct{}{}
	k.Classes[ClassKey{e.Tenant, s.ClassKey}] = struct{}{}
}

// sealedIn is the personal data of an event; nil if it has none.
func sealedIn(d event.Data) *event.Sealed {
	var s *event.Sealed
	switch d := d.(type) {
	case *event.MessageSubmitted:
		s = &d.Sealed
	case *event.ReceiptReceived:
		s = &d.Sealed
	case *event.InboundReceived:
		s = &d.Sealed
	case *event.InboundReceivedV2:
		s = &d.Sealed
	case *event.OptedOut:
		s = d.Sealed
	case *event.SuppressionLifted:
		s = d.Sealed
	case *event.ReviewResolved:
		s = d.Sealed
	}
	if s == nil || len(s.Box) == 0 {
		return nil
	}
	return s
}
