package chirograph.countries_test

import data.chirograph.countries

report(country, reach) := r if {
	r := countries.report with input as {"recipient": {"country": country}, "program": {"countries": reach}}
}

test_within_reach if {
	expected := {"check": "countries", "outcome": "allow", "rules": ["countries.reach"]}
	report("US", ["GB", "US"]) == expected
	report("US", ["*"]) == expected
}

test_out_of_reach if {
	expected := {"check": "countries", "outcome": "deny", "rules": ["countries.not_reached"]}
	report("US", ["GB"]) == expected
	report("US", []) == expected
	report("US", null) == expected
}

test_an_unknown_country_is_denied if {
	expected := {"check": "countries", "outcome": "deny", "rules": ["countries.unknown"]}
	report("", ["*"]) == expected
	report("", ["", "US"]) == expected
}
