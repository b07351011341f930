# METADATA
# title: Opting out
# description: >-
#   Nothing follows an opt-out that covers the message, but the one confirmation
#   of it and the answer to HELP. A handset's STOP is recorded for the whole legal
#   entity; a narrower scope was recorded by an officer as the recipient's
#   clarification, and covers what it names. While words that are not plain are in
#   review, a message waits.
package chirograph.opt_out

standing := input.opt_outs

# Who opted out of a tenant opted out of all its names.
covering contains i if {
	some i, opt_out in standing
	opt_out.same
}

covering contains i if {
	some i, opt_out in standing
	opt_out.scope == "tenant"
}

# The opt-outs that this message confirms (47 CFR 64.1200(a)(12)).
confirmed contains i if {
	input.purpose == "compliance_reply"
	some i in covering
	standing[i].answers
}

# The answer to a HELP.
helps if {
	input.purpose == "compliance_reply"
	input.reply == "help"
}

plain contains i if {
	some i in covering
	not standing[i].unclear
}

stopped if {
	covering != set()
	plain != set()
	confirmed == set()
	not helps
}

# What is not plain stops an automatic answer too, and every other message once
# its wait is over.
stopped if {
	unclear_alone
	input.purpose == "compliance_reply"
}

stopped if {
	unclear_alone
	waits
	input.review.ended
}

unclear_alone if {
	covering != set()
	plain == set()
	confirmed == set()
	not helps
}

waits if input.purpose == "marketing"

waits if {
	data.opt_out.other_purposes[input.purpose]
	not data.opt_out.only_plain[input.purpose]
}

# A scope that is not known must not be read as one that does not cover.
known contains i if {
	some i, opt_out in standing
	data.opt_out.scopes[opt_out.scope]
}

# METADATA
# title: Opted out of the sender ID
# description: The recipient opted out of this sender ID.
# custom:
#   id: opt_out.sender
#   citation: 47 CFR 64.1200(a)(10), (a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.sender" if {
	stopped
	some i in covering
	standing[i].scope == "sender"
	not standing[i].unclear
}

# METADATA
# title: Opted out of the program
# description: The recipient opted out of this program.
# custom:
#   id: opt_out.program
#   citation: 47 CFR 64.1200(a)(10), (a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.program" if {
	stopped
	some i in covering
	standing[i].scope == "program"
	not standing[i].unclear
}

# METADATA
# title: Opted out of the legal entity
# description: The recipient opted out of every message of this legal entity.
# custom:
#   id: opt_out.legal_entity
#   citation: 47 CFR 64.1200(a)(10), (a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.legal_entity" if {
	stopped
	some i in covering
	standing[i].scope == "legal_entity"
	not standing[i].unclear
}

# METADATA
# title: Opted out of the tenant
# description: The recipient opted out of every message of this tenant, whatever its legal entity.
# custom:
#   id: opt_out.tenant
#   citation: 47 CFR 64.1200(a)(10), (a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.tenant" if {
	stopped
	some i in covering
	standing[i].scope == "tenant"
	not standing[i].unclear
}

# METADATA
# title: An unclear opt-out
# description: The recipient may have opted out in words that are not plain, and no officer has said that they mean something else.
# custom:
#   id: opt_out.unclear
#   citation: 47 CFR 64.1200(a)(10)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.unclear" if {
	stopped
	some i in covering
	standing[i].unclear
}

# METADATA
# title: Marketing after an opt-out
# description: Marketing after an opt-out that covers it is denied.
# custom:
#   id: opt_out.marketing
#   citation: 47 CFR 64.1200(a)(10), (d)(3)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.marketing" if {
	stopped
	input.purpose == "marketing"
}

# METADATA
# title: Other purposes after an opt-out
# description: An opt-out covers this purpose too, because the recipient has not said that it should not.
# custom:
#   id: opt_out.other_purposes
#   citation: 47 CFR 64.1200(a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.other_purposes" if {
	stopped
	data.opt_out.other_purposes[input.purpose]
}

# METADATA
# title: A one-time code after an opt-out
# description: A one-time code may follow an opt-out only on evidence of a fresh request by the person, and there is none.
# custom:
#   id: opt_out.otp
deny contains "opt_out.otp" if {
	stopped
	input.purpose == "otp"
}

# METADATA
# title: An emergency after an opt-out
# description: An emergency message may follow an opt-out only when two people have approved it, and no approval is recorded.
# custom:
#   id: opt_out.emergency
deny contains "opt_out.emergency" if {
	stopped
	input.purpose == "emergency"
}

# METADATA
# title: A reply that confirms nothing
# description: After an opt-out only its one confirmation may be sent, and this is not it.
# custom:
#   id: opt_out.not_the_confirmation
#   citation: 47 CFR 64.1200(a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
deny contains "opt_out.not_the_confirmation" if {
	stopped
	input.purpose == "compliance_reply"
}

# METADATA
# title: Words in review
# description: The recipient may have opted out in words that are not plain. The message waits at most an hour for an officer to read them.
# custom:
#   id: opt_out.in_review
#   citation: 47 CFR 64.1200(a)(10)
#   effective: "2025-04-11"
#   confidence: regulator
defer contains "opt_out.in_review" if {
	unclear_alone
	waits
	not input.review.ended
}

# METADATA
# title: A message that only plain words stop
# description: The recipient may have opted out in words that are not plain. One-time codes, fraud alerts and emergencies are stopped only by plain words.
# custom:
#   id: opt_out.not_plain
allow contains "opt_out.not_plain" if {
	unclear_alone
	data.opt_out.only_plain[input.purpose]
}

# METADATA
# title: The answer to HELP
# description: This answers the recipient's HELP, which is answered after an opt-out too.
# custom:
#   id: opt_out.help
#   citation: CTIA Messaging Principles and Best Practices
#   effective: "2019-07-19"
#   confidence: industry
allow contains "opt_out.help" if {
	helps
	covering != set()
}

# METADATA
# title: The one confirmation
# description: This is the one confirmation of the recipient's opt-out.
# custom:
#   id: opt_out.confirmation
#   citation: 47 CFR 64.1200(a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
allow contains "opt_out.confirmation" if confirmed != set()

# METADATA
# title: Opted out of something else
# description: The recipient's opt-outs name other senders, programs or legal entities, and do not cover this message.
# custom:
#   id: opt_out.elsewhere
#   citation: 47 CFR 64.1200(a)(12)
#   effective: "2025-04-11"
#   confidence: regulator
allow contains "opt_out.elsewhere" if covering == set()

# METADATA
# title: No opt-out
# description: No opt-out of the recipient stands.
# custom:
#   id: opt_out.none
report := {"check": "opt_out", "outcome": "allow", "rules": ["opt_out.none"]} if not input.opt_outs

report := {"check": "opt_out", "outcome": "deny", "rules": deny, "opt_outs": covering} if {
	count(known) == count(input.opt_outs)
	deny != set()
} else := {"check": "opt_out", "outcome": "defer", "rules": defer, "opt_outs": covering, "until": input.review.until} if {
	count(known) == count(input.opt_outs)
	defer != set()
} else := {"check": "opt_out", "outcome": "allow", "rules": allow, "opt_outs": relied} if {
	count(known) == count(input.opt_outs)
	allow != set()
}

# What an allow relied on: the opt-outs that the message confirms, else those that
# cover it and do not stop it.
relied := confirmed if {
	confirmed != set()
} else := covering
