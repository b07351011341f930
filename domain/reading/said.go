package reading

import (
	"errors"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Said is the personal data in an event of what a person said, or of what was recorded for them, in clear.
type Said struct {
	// Number is the person's; "" where no event has it.
	Number string
	// Words are what the person wrote, whole; Evidence is what was written down about it.
	Words, Evidence string
	// Unreadable: some of what the person wrote cannot be read as text. Others are further readings.
	Unreadable bool
	Others     []string
	// Erased, KeyMissing: all of it, or some of it, is erased, or the vault lacks its key.
	Erased, KeyMissing bool
}

// note takes the errors that say that data is gone; it returns any other.
func (s *Said) note(err error) error {
	switch {
	case errors.Is(err, ledger.ErrErased):
		s.Erased = true
	case errors.Is(err, ledger.ErrKeyMissing):
		s.KeyMissing = true
	default:
		return err
	}
	return nil
}

// SaidIn opens what an event has of that, with the words of the events that it names, as one text in the order of their parts. find reads a
// named event; nil if there is none. depth bounds how far it follows them.
func SaidIn(vault ledger.Opener, e *event.Event, depth int, find func(id event.ID) (*event.Event, error)) (s Said, err error) {
	var sealed *event.Sealed
	var named []event.ID
	switch d := e.Data.(type) {
	case *event.InboundReceived:
		return wrote(vault, e, &d.Sealed)
	case *event.InboundReceivedV2:
		return wrote(vault, e, &d.Sealed)
	case *event.InboundJoined:
		named = d.Parts
	case *event.OptedOut:
		sealed = d.Sealed
		if !d.Answers.IsZero() {
			named = append([]event.ID{d.Answers}, d.Lifts...)
		}
	case *event.SuppressionLifted:
		sealed = d.Sealed
		switch {
		case d.Source == event.SourceJoined:
			named = d.Lifts
		case d.Source != event.SourceReview && !d.Answers.IsZero():
			named = []event.ID{d.Answers}
		}
	case *event.ReviewResolved:
		sealed, named = d.Sealed, []event.ID{d.Review}
	}
	if sealed != nil {
		v, err := ledger.Open[event.Evidence](vault, e.Tenant, e.ID, sealed)
		if err := s.note(err); err != nil {
			return s, err
		}
		s.Number, s.Evidence = v.Number, v.Text
	}
	if depth == 0 || len(named) == 0 {
		return s, nil
	}
	return s, s.join(vault, named, depth-1, find)
}

// wrote opens the words of an inbound message or of a part.
func wrote(vault ledger.Opener, e *event.Event, sealed *event.Sealed) (s Said, err error) {
	in, err := ledger.Open[event.Inbound](vault, e.Tenant, e.ID, sealed)
	if err != nil {
		return s, s.note(err)
	}
	return Said{Number: in.From, Words: in.Text, Unreadable: in.Unreadable, Others: in.Others}, nil
}

// join adds what the named events say.
func (s *Said) join(vault ledger.Opener, ids []event.ID, depth int, find func(id event.ID) (*event.Event, error)) error {
	type piece struct {
		number int
		Said
	}
	var all []piece
	for i, id := range ids[:min(len(ids), mostParts)] {
		if slices.Contains(ids[:i], id) {
			continue
		}
		e, err := find(id)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		said, err := SaidIn(vault, e, depth, find)
		if err != nil {
			return err
		}
		all = append(all, piece{partNumber(e), said})
	}
	slices.SortStableFunc(all, func(a, b piece) int { return a.number - b.number })
	for _, p := range all {
		s.Words += p.Words
		if s.Number == "" {
			s.Number = p.Number
		}
		if len(all) == 1 {
			s.Others = p.Others
		}
		if s.Evidence == "" {
			s.Evidence = p.Evidence
		}
		s.Unreadable, s.Erased, s.KeyMissing = s.Unreadable || p.Unreadable, s.Erased || p.Erased, s.KeyMissing || p.KeyMissing
	}
	return nil
}

// partNumber is the number of the part that an inbound event is; 0 if it is a whole message.
func partNumber(e *event.Event) int {
	switch d := e.Data.(type) {
	case *event.InboundReceived:
		if d.Concat != nil {
			return d.Concat.Part
		}
	case *event.InboundReceivedV2:
		if d.Concat != nil {
			return d.Concat.Part
		}
	}
	return 0
}
