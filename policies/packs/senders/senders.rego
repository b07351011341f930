# METADATA
# title: Sender IDs
# description: The program's own sender IDs, of a type that the recipient's country takes.
package chirograph.senders

# METADATA
# title: Another's sender ID
# description: The program does not register this sender ID.
# custom:
#   id: senders.not_owned
deny contains "senders.not_owned" if not input.sender.owned

# METADATA
# title: Alphanumeric to the United States or Canada
# description: The United States, its territories and Canada take no alphanumeric sender IDs, and the recipient may be there.
# custom:
#   id: senders.alphanumeric_us_ca
#   citation: CTIA Messaging Principles and Best Practices; carriers' guidelines
#   effective: "2019-07-19"
#   confidence: industry
deny contains "senders.alphanumeric_us_ca" if {
	input.sender.type == "alphanumeric"
	some country in possible_countries
	data.senders.no_alphanumeric[country]
}

# METADATA
# title: Alphanumeric to an unknown country
# description: Whether the recipient's country takes alphanumeric sender IDs is not known, because the country is not.
# custom:
#   id: senders.unknown_country
deny contains "senders.unknown_country" if {
	input.sender.type == "alphanumeric"
	"" in possible_countries
}

possible_countries contains input.recipient.country

possible_countries contains place.country if some place in input.recipient.places

# A type that the packs do not know is reported on by neither.
report := {"check": "senders", "outcome": "deny", "rules": deny} if {
	data.senders.types[input.sender.type]
	deny != set()
}

# METADATA
# title: The program's own sender ID
# description: The program registers this sender ID, and its type may reach the recipient.
# custom:
#   id: senders.owned
report := {"check": "senders", "outcome": "allow", "rules": ["senders.owned"]} if {
	data.senders.types[input.sender.type]
	deny == set()
}
