package chirograph.senders_test

import data.chirograph.senders

report(kind, owned, country, places) := r if {
	r := senders.report with input as {
		"sender": {"id": "X", "type": kind, "owned": owned},
		"recipient": {"country": country, "places": [{"country": place, "zone": "Z"} | some place in places]},
	}
}

allowed := {"check": "senders", "outcome": "allow", "rules": ["senders.owned"]}

denied(rules) := {"check": "senders", "outcome": "deny", "rules": rules}

test_the_programs_own if {
	report("long_code", true, "US", ["US"]) == allowed
	report("short_code", true, "CA", ["CA"]) == allowed
	report("alphanumeric", true, "GB", ["GB"]) == allowed
	report("long_code", true, "", []) == allowed
}

test_anothers if {
	report("long_code", false, "US", ["US"]) == denied({"senders.not_owned"})
}

test_alphanumeric_to_north_america if {
	every country in ["US", "CA", "PR", "VI", "GU", "AS", "MP"] {
		report("alphanumeric", true, country, [country]) == denied({"senders.alphanumeric_us_ca"})
	}

	# One possible place is enough.
	report("alphanumeric", true, "JM", ["JM", "CA"]) == denied({"senders.alphanumeric_us_ca"})
}

test_alphanumeric_to_an_unknown_country if {
	report("alphanumeric", true, "", []) == denied({"senders.unknown_country"})
}

test_an_unknown_type_is_a_fault if {
	not senders.report with input as {"sender": {"type": "pigeon", "owned": true}, "recipient": {"country": "GB"}}
	not senders.report with input as {"sender": {"type": "pigeon", "owned": false}, "recipient": {"country": "GB"}}
}
