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

test_unclear_words_suppress if {
	unclear := object.union(same("legal_entity"), {"unclear": true})
	denied(report("account", [unclear]), {"opt_out.unclear", "opt_out.other_purposes"}, {0})
	allowed(report("account", [object.union(unclear, {"same": false})]), {"opt_out.elsewhere"}, set())
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
