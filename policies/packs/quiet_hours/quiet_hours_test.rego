package chirograph.quiet_hours_test

import data.chirograph.quiet_hours

at(purpose, places, time, weekday) := {
	"purpose": purpose,
	"recipient": {"country": "US", "places": places},
	"clocks": {place.zone: {"date": "2026-11-24", "time": time, "weekday": weekday} | some place in places},
}

report(purpose, places, time, weekday) := r if {
	r := quiet_hours.report with input as at(purpose, places, time, weekday)
}

windows(purpose, places) := {[window.zone, window.rule] |
	some window in quiet_hours.windows with input as at(purpose, places, "12:00", 2)
}

ny := {"country": "US", "state": "NY", "zone": "America/New_York"}

miami := {"country": "US", "state": "FL", "zone": "America/New_York"}

pensacola := {"country": "US", "state": "FL", "zone": "America/Chicago"}

dallas := {"country": "US", "state": "TX", "zone": "America/Chicago"}

stateless := {"country": "US", "zone": "America/Chicago"}

delhi := {"country": "IN", "zone": "Asia/Kolkata"}

london := {"country": "GB", "zone": "Europe/London"}

test_federal if {
	report("marketing", [ny], "07:59", 2) == {"check": "quiet_hours", "outcome": "defer", "rules": {"quiet_hours.us.federal"}}
	report("marketing", [ny], "08:00", 2) == {"check": "quiet_hours", "outcome": "allow", "rules": {"quiet_hours.us.federal"}}
	report("marketing", [ny], "20:59", 2).outcome == "allow"
	report("marketing", [ny], "21:00", 2).outcome == "defer"
	windows("marketing", [ny]) == {["America/New_York", "quiet_hours.us.federal"]}
}

test_florida_has_two_zones if {
	windows("marketing", [miami, pensacola]) == {
		["America/New_York", "quiet_hours.us.federal"],
		["America/New_York", "quiet_hours.us.fl"],
		["America/Chicago", "quiet_hours.us.federal"],
		["America/Chicago", "quiet_hours.us.fl"],
	}
	report("marketing", [miami], "20:00", 2).rules == {"quiet_hours.us.fl"}
}

test_texas_on_sunday if {
	report("marketing", [dallas], "11:59", 7) == {"check": "quiet_hours", "outcome": "defer", "rules": {"quiet_hours.us.tx"}}
	report("marketing", [dallas], "12:00", 7).outcome == "allow"
	report("marketing", [dallas], "09:00", 6).outcome == "allow"
}

test_an_unknown_state_may_be_any if {
	windows("marketing", [stateless]) == {
		["America/Chicago", "quiet_hours.us.federal"],
		["America/Chicago", "quiet_hours.us.fl"],
		["America/Chicago", "quiet_hours.us.tx"],
	}
}

test_a_territory_has_federal_hours if {
	every country in ["AS", "GU", "MP", "PR", "VI"] {
		windows("marketing", [{"country": country, "zone": "Z"}]) == {["Z", "quiet_hours.us.federal"]}
		windows("collection", [{"country": country, "zone": "Z"}]) == {["Z", "quiet_hours.us.collection"]}
	}
}

test_collection if {
	windows("collection", [miami, dallas]) == {
		["America/New_York", "quiet_hours.us.collection"],
		["America/Chicago", "quiet_hours.us.collection"],
	}
	report("collection", [delhi], "03:00", 2).rules == {"quiet_hours.none_recorded"}
}

test_india if {
	report("marketing", [delhi], "09:59", 2) == {"check": "quiet_hours", "outcome": "defer", "rules": {"quiet_hours.in"}}
	report("marketing", [delhi], "10:00", 2).outcome == "allow"
}

test_hours_that_carriers_ask_for if {
	every country, rule in {"AE": "quiet_hours.ae", "BR": "quiet_hours.br", "FR": "quiet_hours.fr", "SA": "quiet_hours.sa"} {
		place := {"country": country, "zone": "Z"}
		report("marketing", [place], "12:00", 2) == {"check": "quiet_hours", "outcome": "allow", "rules": {rule}}
		report("marketing", [place], "21:00", 2).outcome == "defer"
		report("marketing", [place], "07:59", 2).outcome == "defer"
	}
	france := {"country": "FR", "zone": "Europe/Paris"}
	report("marketing", [france], "12:00", 7).outcome == "defer"
	report("marketing", [france], "18:00", 6).outcome == "defer"
	report("marketing", [france], "19:59", 5).outcome == "allow"
}

# The holder of a toll-free number in North America may be in Guam or in Canada.
test_every_territory_and_canada if {
	guam := {"country": "GU", "zone": "Pacific/Guam"}
	toronto := {"country": "CA", "zone": "America/Toronto"}
	clocks := {
		"America/New_York": {"date": "2026-11-24", "time": "13:30", "weekday": 2},
		"America/Toronto": {"date": "2026-11-24", "time": "13:30", "weekday": 2},
		"Pacific/Guam": {"date": "2026-11-25", "time": "04:30", "weekday": 3},
	}
	r := quiet_hours.report with input as object.union(at("marketing", [ny, guam, toronto], "12:00", 2), {"clocks": clocks})
	r == {"check": "quiet_hours", "outcome": "defer", "rules": {"quiet_hours.us.federal"}}
	report("marketing", [ny, guam, toronto], "12:00", 2) == {
		"check": "quiet_hours",
		"outcome": "allow",
		"rules": {"quiet_hours.none_recorded", "quiet_hours.us.federal"},
	}
}

test_a_country_without_hours if {
	report("marketing", [london], "03:00", 2) == {
		"check": "quiet_hours",
		"outcome": "allow",
		"rules": {"quiet_hours.none_recorded"},
	}
	report("marketing", [london, ny], "12:00", 2).rules == {"quiet_hours.none_recorded", "quiet_hours.us.federal"}
	windows("marketing", [london]) == set()
}

test_exempt_purposes if {
	every purpose in ["otp", "fraud_alert", "account", "delivery", "healthcare", "reply", "emergency", "compliance_reply"] {
		report(purpose, [ny, {"country": "US", "zone": ""}], "03:00", 2) == {
			"check": "quiet_hours",
			"outcome": "allow",
			"rules": ["quiet_hours.exempt_purpose"],
		}
		windows(purpose, [ny]) == set()
	}
}

test_an_unknown_place_is_denied if {
	denied := {"check": "quiet_hours", "outcome": "deny", "rules": {"quiet_hours.unknown_zone"}}
	report("marketing", [], "12:00", 2) == denied
	report("marketing", null, "12:00", 2) == denied
	report("marketing", [ny, {"country": "US", "zone": ""}], "12:00", 2) == denied
	report("collection", [{"country": "", "zone": "America/New_York"}], "12:00", 2) == denied
}

test_without_a_clock_nothing_is_open if {
	quiet_hours.report.outcome == "defer" with input as object.union(at("marketing", [ny], "12:00", 2), {"clocks": null})
}

test_an_unknown_purpose_is_a_fault if {
	not quiet_hours.report with input as at("gossip", [ny], "12:00", 2)
}
