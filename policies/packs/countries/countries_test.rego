package chirograph.countries_test

import data.chirograph.countries

report(country, reach) := r if {
	r := countries.report with input as {"recipient": {"country": country}, "program": {"countries": reach}}
}

marketing(country, places) := r if {
	r := countries.report with input as {
		"purpose": "marketing",
		"recipient": {"country": country, "places": [{"country": place, "zone": "Z"} | some place in places]},
		"program": {"countries": ["*"]},
	}
}

allowed := {"check": "countries", "outcome": "allow", "rules": ["countries.reach"]}

denied(rules) := {"check": "countries", "outcome": "deny", "rules": rules}

test_within_reach if {
	report("US", ["GB", "US"]) == allowed
	report("US", ["*"]) == allowed
}

test_out_of_reach if {
	report("US", ["GB"]) == denied({"countries.not_reached"})
	report("US", []) == denied({"countries.not_reached"})
	report("US", null) == denied({"countries.not_reached"})
}

test_an_unknown_country_is_denied if {
	report("", ["*"]) == denied({"countries.unknown"})
	report("", ["", "US"]) == denied({"countries.unknown"})
}

test_marketing_reaches_reviewed_countries_alone if {
	every country in ["US", "CA", "GB", "DE", "FR", "IN", "AE", "SA", "BR"] {
		marketing(country, [country]) == allowed
	}
	marketing("IT", ["IT"]) == denied({"countries.not_reviewed"})
	marketing("IT", ["IT"]) == allowed with data.countries.reviewed as {"*": {}}
	marketing("US", ["US"]) == denied({"countries.not_reviewed"}) with data.countries.reviewed as {}
	marketing("", ["US"]) == denied({"countries.unknown"})
}

test_every_place_counts if {
	# A toll-free number in North America.
	marketing("US", ["US", "CA", "AS", "GU", "MP", "PR", "VI"]) == allowed
	marketing("US", ["US", "JM"]) == denied({"countries.not_reviewed"})
	marketing("US", ["US", ""]) == allowed # the quiet hours deny it
}

test_only_marketing_needs_a_review if {
	every purpose in ["otp", "account", "collection", "compliance_reply"] {
		r := countries.report with input as {
			"purpose": purpose,
			"recipient": {"country": "IT", "places": [{"country": "IT", "zone": "Europe/Rome"}]},
			"program": {"countries": ["IT"]},
		}
		r == allowed
	}
}
