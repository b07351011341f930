package recipient

// Carried is a part that a carrier has: it accepted the part, and no final receipt of it has come.
type Carried struct {
	// Attempt and Part are numbers from 1. Carrier is the attempt's account.
	Attempt, Part int
	Carrier       string
	// CarrierID is the id under which the carrier has it; "" if it gave none.
	CarrierID string
	// Sender is the sender that the part left with. Of an attempt before the last it is the last one's: the state keeps no other.
	Sender string
}

// Carried are the parts of the message that carriers have, in order of attempts and parts. There are none of a message
// that is unsent or has ended, but for one in doubt.
func (m *Message) Carried() (out []Carried) {
	if m.Status != Sending && m.Status != Sent && m.Status != InDoubt {
		return nil
	}
	sender := m.Sender
	if sender == "" {
		sender = m.From
	}
	for i, a := range m.Attempts {
		for _, part := range a.Parts {
			if part.Status == PartTaken && !part.Final {
				out = append(out, Carried{i + 1, part.Part, a.Carrier, part.CarrierID, sender})
			}
		}
	}
	return out
}
