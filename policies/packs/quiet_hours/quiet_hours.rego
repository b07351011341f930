# METADATA
# title: Quiet hours
# description: >-
#   The hours of every place where the recipient may be, by the clock there: a
#   message goes out only while all of them are open. The hours are rows of
#   params.json, by purpose, country and state ("*" is the whole country), each a
#   rule with an id and a citation of its own.
package chirograph.quiet_hours

# By place, the rows that bind this purpose there, by state. A territory has its
# country's law.
bound[i] := in_state(object.get(laws, object.get(territories, place.country, place.country), {}), place) if {
	laws := data.quiet_hours.hours[input.purpose]
	territories := data.quiet_hours.territories
	some i, place in input.recipient.places
	place.zone != ""
}

# A state that is not known may be any of them; a territory is none of them.
in_state(rows, place) := object.filter(rows, ["*", place.state]) if {
	place.state
} else := object.filter(rows, ["*"]) if {
	data.quiet_hours.territories[place.country]
} else := rows

# When those rows let the message out, open and closed ones alike.
windows contains {"zone": input.recipient.places[i].zone, "rule": row.id, "days": row.days} if {
	some i, rows in bound
	some row in rows
}

# "08:00" to "21:00" is 08:00:00 to 20:59:59.
open(window) if {
	clock := input.clocks[window.zone]
	hours := window.days[clock.weekday - 1]
	hours[0] <= clock.time
	clock.time < hours[1]
}

# METADATA
# title: An unknown place
# description: Where the recipient is, or what time it is there, is not known, and then this purpose may not be sent at any hour.
# custom:
#   id: quiet_hours.unknown_zone
#   citation: 47 CFR 64.1200(c)(1); 12 CFR 1006.6(b)(1)
#   effective: "2021-11-30"
#   confidence: regulator
deny contains "quiet_hours.unknown_zone" if not input.recipient.places[0]

deny contains "quiet_hours.unknown_zone" if {
	some place in input.recipient.places
	"" in [place.zone, place.country]
}

# The row's own rule, when its hours are over or have not begun.
defer contains window.rule if {
	some window in windows
	not open(window)
}

# The row's own rule, when it is open.
allow contains window.rule if some window in windows

# METADATA
# title: No quiet hours recorded
# description: These policies record no quiet hours for this purpose in a country where the recipient may be.
# custom:
#   id: quiet_hours.none_recorded
allow contains "quiet_hours.none_recorded" if {
	some rows in bound
	rows == {}
}

# METADATA
# title: A purpose without quiet hours
# description: Messages of this purpose answer, inform or protect their recipient, and no hours are set for them.
# custom:
#   id: quiet_hours.exempt_purpose
#   citation: 47 CFR 64.1200(c)(1)
#   effective: "1992-12-20"
#   confidence: regulator
report := {"check": "quiet_hours", "outcome": "allow", "rules": ["quiet_hours.exempt_purpose"]} if {
	data.quiet_hours.exempt[input.purpose]
}

report := {"check": "quiet_hours", "outcome": "deny", "rules": deny} if {
	data.quiet_hours.hours[input.purpose]
	deny != set()
} else := {"check": "quiet_hours", "outcome": "defer", "rules": defer} if {
	data.quiet_hours.hours[input.purpose]
	defer != set()
} else := {"check": "quiet_hours", "outcome": "allow", "rules": allow} if {
	data.quiet_hours.hours[input.purpose]
	allow != set()
}
