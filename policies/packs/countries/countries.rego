# METADATA
# title: Countries
# description: A program reaches the countries that it is registered for, and no others.
package chirograph.countries

# METADATA
# title: An unknown country
# description: The country of the recipient's number is not known, so it cannot be one that the program may reach.
# custom:
#   id: countries.unknown
report := {"check": "countries", "outcome": "deny", "rules": ["countries.unknown"]} if {
	input.recipient.country == ""
}

# METADATA
# title: A country out of reach
# description: The program is not registered for the country of the recipient's number.
# custom:
#   id: countries.not_reached
report := {"check": "countries", "outcome": "deny", "rules": ["countries.not_reached"]} if {
	input.recipient.country != ""
	not reached
}

# METADATA
# title: A country within reach
# description: The program is registered for the country of the recipient's number.
# custom:
#   id: countries.reach
report := {"check": "countries", "outcome": "allow", "rules": ["countries.reach"]} if {
	input.recipient.country != ""
	reached
}

reached if input.recipient.country in input.program.countries

reached if "*" in input.program.countries
