# METADATA
# title: The decision
# description: >-
#   Every pack reports on every message; a pack that says nothing leaves the
#   decision undefined, and the message is held.
package chirograph.main

# METADATA
# entrypoint: true
decision := {
	"outcome": outcome,
	"checks": checks,
	"windows": data.chirograph.quiet_hours.windows,
}

# In the manifest's order. One undefined report makes the whole list undefined.
checks := [
	data.chirograph.opt_out.report,
	data.chirograph.quiet_hours.report,
	data.chirograph.countries.report,
	data.chirograph.senders.report,
]

outcomes := {check.outcome | some check in checks}

# Deny over defer over allow; an outcome of any other name decides nothing.
outcome := "allow" if {
	outcomes == {"allow"}
} else := "deny" if {
	outcomes.deny
} else := "defer" if {
	outcomes - {"allow"} == {"defer"}
}
