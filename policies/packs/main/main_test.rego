package chirograph.main_test

import data.chirograph.main

allowing(name) := {"check": name, "outcome": "allow", "rules": ["x"]}

denying(name) := {"check": name, "outcome": "deny", "rules": ["x"]}

deferring(name) := {"check": name, "outcome": "defer", "rules": ["x"]}

test_allow_needs_every_check if {
	main.decision == {
		"outcome": "allow",
		"checks": [allowing("opt_out"), allowing("quiet_hours"), allowing("countries"), allowing("senders")],
		"windows": set(),
	} with data.chirograph.opt_out.report as allowing("opt_out")
		with data.chirograph.quiet_hours.report as allowing("quiet_hours")
		with data.chirograph.quiet_hours.windows as set()
		with data.chirograph.countries.report as allowing("countries")
		with data.chirograph.senders.report as allowing("senders")
}

test_deny_over_defer if {
	main.outcome == "deny" with main.checks as [denying("a"), deferring("b"), allowing("c")]
	main.outcome == "deny" with main.checks as [deferring("a"), allowing("b"), denying("c")]
}

test_defer_over_allow if {
	main.outcome == "defer" with main.checks as [allowing("a"), deferring("b")]
	main.outcome == "defer" with main.checks as [deferring("a"), deferring("b")]
}

test_other_outcomes_decide_nothing if {
	not main.outcome with main.checks as [allowing("a"), {"check": "b", "outcome": "maybe"}]
	not main.outcome with main.checks as [deferring("a"), {"check": "b", "outcome": "maybe"}]
	not main.outcome with main.checks as []
}

test_a_missing_report_decides_nothing if {
	not main.decision with input as {}
}
