package chirograph.opt_out_test

import data.chirograph.opt_out

report(purpose, opt_outs) := r if {
	r := opt_out.report with input as {"purpose": purpose, "opt_outs": opt_outs}
}

same(scope) := {"scope": scope, "same": true}

other(scope) := {"scope": scope, "same": false}

denied(r, rules, opt_outs) if {
	r == {"check": "opt_out", "outcome": "deny", "rules": rules, "opt_outs": opt_outs}
}

allowed(r, rules, opt_outs) if {
	r == {"check": "opt_out", "outcome": "allow", "rules": rules, "opt_outs": opt_outs}
}

test_nothing_stands if {
	every purpose in ["marketing", "otp", "emergency", "account", "compliance_reply"] {
		r := opt_out.report with input as {"purpose": purpose}
		r == {"check": "opt_out", "outcome": "allow", "rules": ["opt_out.none"]}
	}
}

test_marketing_after_stop if {
	every scope in ["sender", "program", "legal_entity", "tenant"] {
		denied(report("marketing", [same(scope)]), {concat(".", ["opt_out", scope]), "opt_out.marketing"}, {0})
	}
}

test_every_other_purpose_after_stop if {
	every purpose in ["account", "delivery", "healthcare", "fraud_alert", "collection", "reply"] {
		denied(report(purpose, [same("legal_entity")]), {"opt_out.legal_entity", "opt_out.other_purposes"}, {0})
	}
	denied(report("otp", [same("legal_entity")]), {"opt_out.legal_entity", "opt_out.otp"}, {0})
	denied(report("emergency", [same("legal_entity")]), {"opt_out.legal_entity", "opt_out.emergency"}, {0})
}

test_a_narrow_scope_covers_what_it_names if {
	every scope in ["sender", "program", "legal_entity"] {
		allowed(report("marketing", [other(scope)]), {"opt_out.elsewhere"}, set())
	}
}

test_a_tenant_has_no_other_name if {
	denied(report("marketing", [other("tenant")]), {"opt_out.tenant", "opt_out.marketing"}, {0})
}

test_one_that_covers_is_enough if {
	denied(
		report("marketing", [other("program"), same("sender"), other("sender"), same("legal_entity")]),
		{"opt_out.sender", "opt_out.legal_entity", "opt_out.marketing"},
		{1, 3},
	)
}

unclear(scope) := object.union(same(scope), {"unclear": true})

in_review(purpose, opt_outs, ended) := r if {
	r := opt_out.report with input as {
		"purpose": purpose,
		"opt_outs": opt_outs,
		"review": {"until": "2026-11-28T05:09:00Z", "ended": ended},
	}
}

test_unclear_words_wait_for_their_review if {
	every purpose in ["marketing", "account", "delivery", "healthcare", "collection", "reply"] {
		in_review(purpose, [unclear("legal_entity")], false) == {
			"check": "opt_out",
			"outcome": "defer",
			"rules": {"opt_out.in_review"},
			"opt_outs": {0},
			"until": "2026-11-28T05:09:00Z",
		}
	}
	allowed(in_review("account", [object.union(unclear("program"), {"same": false})], false), {"opt_out.elsewhere"}, set())
}

test_unclear_words_suppress_when_no_officer_reads_them if {
	denied(in_review("marketing", [unclear("legal_entity")], true), {"opt_out.unclear", "opt_out.marketing"}, {0})
	denied(in_review("account", [unclear("legal_entity")], true), {"opt_out.unclear", "opt_out.other_purposes"}, {0})
}

test_some_purposes_are_stopped_only_by_plain_words if {
	every purpose in ["otp", "fraud_alert", "emergency"] {
		every ended in [false, true] {
			allowed(in_review(purpose, [unclear("tenant")], ended), {"opt_out.not_plain"}, {0})
			r := in_review(purpose, [unclear("tenant"), same("program")], ended)
			r.outcome == "deny"
			r.opt_outs == {0, 1}
		}
	}
}

test_plain_words_beside_unclear_ones_deny_at_once if {
	denied(
		in_review("marketing", [unclear("legal_entity"), same("program")], false),
		{"opt_out.unclear", "opt_out.program", "opt_out.marketing"},
		{0, 1},
	)

	# Plain words that do not cover the message do not.
	in_review("marketing", [unclear("legal_entity"), other("program")], false).outcome == "defer"
}

test_a_review_without_an_end_is_a_fault if {
	not report("marketing", [unclear("legal_entity")])
	not in_review("gossip", [unclear("legal_entity")], false)
	not in_review("gossip", [unclear("legal_entity")], true)
}

answer(reply, opt_outs, ended) := r if {
	r := opt_out.report with input as {
		"purpose": "compliance_reply",
		"reply": reply,
		"opt_outs": opt_outs,
		"review": {"until": "2026-11-28T05:09:00Z", "ended": ended},
	}
}

test_help_is_answered_after_stop if {
	every opt_outs in [[same("legal_entity")], [unclear("tenant")], [same("sender"), unclear("program")]] {
		allowed(answer("help", opt_outs, true), {"opt_out.help"}, {i | some i, _ in opt_outs})
	}
	allowed(answer("help", [other("program")], true), {"opt_out.elsewhere"}, set())

	# Only the system's own answer.
	r := opt_out.report with input as {"purpose": "reply", "reply": "help", "opt_outs": [same("tenant")]}
	r.outcome == "deny"
}

test_a_start_is_not_answered_while_an_opt_out_stands if {
	denied(
		answer("welcome", [same("legal_entity")], false),
		{"opt_out.legal_entity", "opt_out.not_the_confirmation"},
		{0},
	)
	denied(answer("welcome", [unclear("program")], false), {"opt_out.unclear", "opt_out.not_the_confirmation"}, {0})
	allowed(answer("welcome", [other("program")], false), {"opt_out.elsewhere"}, set())
}

test_the_confirmation_beside_unclear_words if {
	allowed(
		answer("stop", [unclear("program"), object.union(same("legal_entity"), {"answers": true})], false),
		{"opt_out.confirmation"},
		{1},
	)
}

test_the_one_confirmation if {
	answered := object.union(same("legal_entity"), {"answers": true})
	allowed(report("compliance_reply", [answered]), {"opt_out.confirmation"}, {0})
	allowed(report("compliance_reply", [same("program"), answered]), {"opt_out.confirmation"}, {1})

	# The same words under another purpose confirm nothing.
	denied(report("marketing", [answered]), {"opt_out.legal_entity", "opt_out.marketing"}, {0})
}

test_a_reply_that_confirms_nothing if {
	denied(
		report("compliance_reply", [same("legal_entity")]),
		{"opt_out.legal_entity", "opt_out.not_the_confirmation"},
		{0},
	)
}

test_an_unknown_scope_is_a_fault if {
	not opt_out.report with input as {"purpose": "marketing", "opt_outs": [other("planet")]}
	not opt_out.report with input as {"purpose": "marketing", "opt_outs": [same("legal_entity"), same("planet")]}
}

test_no_scope_is_a_fault if {
	not opt_out.report with input as {"purpose": "marketing", "opt_outs": [{"same": false}]}
}
