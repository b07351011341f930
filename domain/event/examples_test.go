package event

import (
	"bytes"
	"time"
)

// The examples: one event of each type, as docs/events.md shows it and as the
// golden files under testdata hold it.

func at(ms int64) time.Time { return Millis(time.UnixMilli(1_795_507_200_000 + ms)) }

func exampleID(n byte) ID {
	id := Derive(ID{6: 0x70}, string(rune('a'+n)))
	id.stamp(at(int64(n)).UnixMilli())
	id.setPartition(7)
	return id
}

func exampleSealed(n byte) Sealed {
	return Sealed{SubjectKey: exampleID(1), ClassKey: "message/2026-11", Box: bytes.Repeat([]byte{n, 0xfb}, 12)}
}

func examples() []*Event {
	sealed := exampleSealed(3)
	digest := "5f1d0a9be2c34788a1b2c3d4e5f60718"
	subject := Pseudonym{0x4b, 0x1e, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	stream := func(n byte, d Data) *Event {
		return &Event{ID: exampleID(n), Source: "/k3v9", Subject: subject, Time: at(int64(n)), Tenant: "acme", Node: "a", Data: d}
	}
	about := func(e *Event) *Event { e.Message = exampleID(2); return e }
	outcome := func(e *Event) *Event { about(e); e.After, e.Control = exampleID(30), 5; return e }
	control := func(n byte, tenant string, d Data) *Event {
		return &Event{ID: exampleID(n), Source: "/k3v9", Time: at(int64(n)), Tenant: tenant, Node: "a", Data: d}
	}
	return []*Event{
		stream(2, &MessageSubmitted{Program: "account", Purpose: "account", Priority: 6, From: "+15005550006", Country: "US",
			Places: []Place{"US-FL America/New_York", "US-FL America/Chicago"}, Encoding: "gsm7", Segments: 1,
			SendAt: at(3_600_000), ValidUntil: at(90_000_000), PrefersDuplicate: true, Key: digest, Input: digest, Referenced: true,
			Answers: exampleID(9), By: "key-1", Sealed: sealed}),
		about(stream(3, &CancelRequested{By: "key-1"})),
		stream(4, &OptedOut{Reach: Reach{ScopeProgram, "account"}, Source: "phone", Occurred: at(-86_400_000), Unclear: true,
			Answers: exampleID(9), Lifts: []ID{exampleID(9), exampleID(10)}, By: "key-2", Sealed: &sealed}),
		stream(5, &SuppressionLifted{Lifts: []ID{exampleID(4)}, Source: "letter", Answers: exampleID(9), By: "key-2", Sealed: &sealed}),
		outcome(stream(6, &MessageDecided{Outcome: "deny", Until: at(3_600_000), Senders: []string{"+15005550006"},
			Checks: []Check{{"countries", "allow", []string{"countries.program"}, nil, time.Time{}}, {"opt_out", "deny", []string{"opt_out.program"}, []ID{exampleID(4)}, time.Time{}}},
			Fault:  "pause", Detail: "paused: an incident at the carrier", Clocks: []Clock{"America/New_York 2026-11-24T08:40"},
			ZoneData: "2026b", OptOuts: []ID{exampleID(4)}, Revision: "2026-11-24", Digest: digest})),
		outcome(stream(7, &MessageRouted{Rule: "default", Table: 3, Carrier: "smsc-1", From: "+15005550006", Encoding: "gsm7", Parts: 2})),
		outcome(stream(8, &HandoffStarted{Attempt: 1, Parts: []StartedPart{{1, digest}, {2, digest}}, CallBy: at(5_000), AnswerBy: at(15_000),
			Duplicate: true, Reference: 4097})),
		about(stream(11, &HandoffAccepted{Attempt: 1, Part: 1, Carrier: "smsc-1", CarrierID: "00a1f9"})),
		about(stream(12, &HandoffRefused{Attempt: 1, Part: 2, Carrier: "smsc-1", Retry: true, NotCalled: true, Code: "0x00000058", Reason: "the carrier asked to slow down"})),
		outcome(stream(13, &HandoffInDoubt{Attempt: 1, Parts: []int{1, 2}, Why: "the carrier did not answer in time"})),
		stream(14, &InboundReceived{Account: "smsc-1", To: "+15005550006", Ask: "stop", Match: "STOP", Program: "account",
			Concat: &Concat{17, 1, 2}, Revokes: &Reach{ScopeLegalEntity, "Acme Bank"}, Unclear: true, Holds: &Reach{ScopeTenant, ""}, MayLift: []Reach{{ScopeLegalEntity, "Acme Bank"}, {ScopeSender, "+15005550006"}}, Read: 1234, Sealed: sealed}),
		about(stream(15, &ReceiptReceived{Account: "smsc-1", CarrierID: "00A1F9", Reference: 4097, Attempt: 1, Part: 1, State: "delivered",
			Final: true, Error: "000", Grade: "network", Match: "id_zeros", Received: at(9), Sealed: sealed})),
		outcome(stream(16, &MessageExpired{})),
		outcome(stream(17, &ReceiptOverdue{})),
		control(18, "", &ControlApplied{Position: 5, Event: exampleID(23)}),
		control(19, "", &LedgerCreated{Ledger: "k3v9", Partitions: 16, NumberForms: 1}),
		control(20, "acme", &ProgramChanged{Name: "account", LegalEntity: "Acme Bank", Brand: "Acme", Purposes: []string{"account", "delivery"},
			Countries: []string{"US", "GB"}, Senders: []string{"+15005550006", "ACME"}, Priority: 6, PrefersDuplicate: true,
			HelpText: "Acme: write to help@acme.example", StopText: "Acme: you are opted out.", Default: true, By: "key-3"}),
		control(21, "", &RoutesChanged{Routes: []Route{{"us-otp", []string{"US"}, []string{"otp"}, "smsc-2"}, {"default", nil, nil, "smsc-1"}}, By: "key-3"}),
		control(22, "", &PolicyActivated{Revision: "2026-11-24", Digest: digest + digest, By: "key-3"}),
		control(23, "acme", &Paused{Program: "marketing", Carrier: "smsc-1", Reason: "an incident at the carrier", By: "key-3"}),
		control(24, "acme", &Resumed{Program: "marketing", Carrier: "smsc-1", Reason: "the incident is over", By: "key-3"}),
		control(25, "", &RecordAccepted{Position: "07-1234", Hash: digest + digest, Reason: "a test tool wrote into the topic", By: "operator"}),
		stream(31, &InboundReceivedV2{Account: "smsc-1", To: "+15005550006", Ask: "unclear", Match: "please stop", Language: "en", Lists: "2026-11-28.5f1d0a9b",
			Programs: []string{"account", "cards"}, Reaches: []Reach{{ScopeLegalEntity, "Acme Bank"}, {ScopeLegalEntity, "Acme Cards"}}, Holds: HoldUnclear,
			Concat: &Concat{17, 1, 2}, Control: 5, Read: 1234, Unplaced: UnplacedAmbiguous, Streams: []HeldStream{{"acme", subject, exampleID(32)}},
			Digest: digest, Places: exampleID(9), Sealed: sealed}),
		stream(32, &InboundHeld{Inbound: exampleID(31), Stream: subject, Account: "smsc-1", To: "+15005550006",
			Reaches: []Reach{{ScopeLegalEntity, "Acme Bank"}}, Unplaced: UnplacedShared, Plain: true, Control: 5}),
		stream(33, &InboundJoined{Parts: []ID{exampleID(9), exampleID(10)}, To: "+15005550006", Ask: "unclear", Match: "please stop", Language: "en",
			Lists: "2026-11-28.5f1d0a9b", Programs: []string{"account"}, Reaches: []Reach{{ScopeLegalEntity, "Acme Bank"}}, Holds: HoldUnclear, Read: 1234}),
		stream(34, &ReviewResolved{Review: exampleID(31), As: ReviewNarrow, Reaches: []Reach{{ScopeProgram, "account"}}, Placed: exampleID(33), By: "key-2", Sealed: &sealed}),
		stream(35, &ReviewRead{Review: exampleID(31), By: "key-2"}),
		control(36, "", &LevelRaised{Level: 2, By: "operator"}),
		control(37, "acme", &OwnerGranted{Sender: "+15005550006", LegalEntity: "Acme Bank", By: "operator"}),
		control(45, "", &VaultBound{Vault: digest, Development: true, By: "serve"}),
		control(46, "", &EpochBegan{Epoch: 2, Cause: EpochRecovered, Lost: []LostEvents{{"07", 1234, 1240, digest + digest}, {"control", 7, 8, ""}}, Reason: "the disk of 12 May failed", By: "operator"}),
		control(47, "acme", &EpochReleased{Epoch: 2, Program: "account", Reason: "checked with the carrier", By: "operator"}),
		about(stream(48, &MessageRecovered{Epoch: 2, Program: "account", Purpose: "account", From: "+15005550006", Country: "US", Accepted: at(2), ValidUntil: at(90_000_000),
			Key: digest, Input: digest, Answers: exampleID(9), Status: "sent", Parts: 2, Handoffs: []KnownHandoff{{1, 1, "smsc-1", "00a1f9", 4097}, {1, 2, "smsc-1", "", 4098}},
			Source: RecoveredFromViews, By: "operator"})),
		control(39, "acme", &PersonalDataRead{Key: "key-2", Reason: "complaint 4711", From: at(0), Until: at(1000),
			Reads: []DataRead{{"getMessage", []string{"number", "body"}, subject, []ID{exampleID(1)}, 2}, {"searchMessages", []string{"number"}, Pseudonym{}, nil, 1}}}),
		control(40, "acme", &KeyUsed{Key: "key-2", From: at(0), Until: at(3_600_000), Calls: []KeyCalls{{"messages:read", 12, 0}, {"audit:export", 1, 1}}}),
		control(41, "acme", &ExportAsked{By: "key-2", Reason: "complaint 4711", Scope: `{"recipient":"` + subject.String() + `"}`, Clear: true,
			Heads: []string{"00-17", "01-0", "control-9"}}),
		control(42, "acme", &ExportEnded{Export: exampleID(41), As: ExportFinished, By: "key-2", Why: "the disk is full", Events: 12, Size: 34567, SHA256: digest + digest, DeleteAfter: at(604_800_000)}),
		control(43, "acme", &ExportDownloaded{Export: exampleID(41), By: "key-2", SHA256: digest + digest}),
		control(44, "acme", &ExportDeleted{Export: exampleID(41), By: "key-2"}),
		control(48, "", &MasterKeyRotated{Began: at(0), Ended: at(60_000), Keys: 12345, By: "operator"}),
		control(49, "acme", &WebhookChanged{Webhook: exampleID(9), As: WebhookDisabled, Why: "it answered 410 Gone", By: "key-2"}),
	}
}

// laterExamples have what a later format level added to types that were there before, by the level. The
// golden file of such an example has the level in its name.
func laterExamples() map[int][]*Event {
	submitted, optedOut := *examples()[0], *examples()[2]
	content, evidence := *submitted.Data.(*MessageSubmitted), *optedOut.Data.(*OptedOut)
	sealed := exampleSealed(3)
	sealed.Version = SealV2
	content.Sealed, evidence.Sealed = sealed, &sealed
	submitted.Data, optedOut.Data = &content, &evidence
	started := *examples()[6]
	started.Data = &HandoffStarted{Attempt: 1, Parts: []StartedPart{{1, "5f1d0a9be2c34788a1b2c3d4e5f60718"}}, CallBy: at(5_000), AnswerBy: at(15_000),
		Reference: 4097, Epoch: 2}
	lifted := *examples()[3]
	lifted.Data = &SuppressionLifted{Lifts: []ID{exampleID(4)}, Reaches: []Reach{{Scope: ScopeLegalEntity, Name: "Acme Bank"}}, Source: "letter", By: "key-2"}
	return map[int][]*Event{2: level2Examples(), 3: {&submitted, &optedOut, &started, &lifted}}
}

func level2Examples() []*Event {
	control := func(n byte, tenant string, d Data) *Event {
		return &Event{ID: exampleID(n), Source: "/k3v9", Time: at(int64(n)), Tenant: tenant, Node: "a", Data: d}
	}
	decided := *examples()[4]
	decided.Data = &MessageDecided{Outcome: "defer", Until: at(3_600_000), Checks: []Check{{"opt_out", "defer", []string{"opt_out.in_review"}, []ID{exampleID(4)}, at(3_600_000)}},
		Clocks: []Clock{"America/New_York 2026-11-24T08:40"}, ZoneData: "2026c", OptOuts: []ID{exampleID(4)}, Revision: "2026-11-28", Digest: "5f1d0a9be2c34788a1b2c3d4e5f60718"}
	started := *examples()[6]
	started.Data = &HandoffStarted{Attempt: 1, Parts: []StartedPart{{1, "5f1d0a9be2c34788a1b2c3d4e5f60718"}}, CallBy: at(5_000), AnswerBy: at(15_000),
		Reference: 4097, Tail: "5f1d0a9be2c34788"}
	return []*Event{
		&decided,
		&started,
		control(38, "acme", &ProgramChanged{Name: "account", LegalEntity: "Acme Bank", Purposes: []string{"account"}, Countries: []string{"US"},
			Senders: []string{"+15005550006"}, StartText: "Acme: you get our messages again.", By: "key-3"}),
	}
}
