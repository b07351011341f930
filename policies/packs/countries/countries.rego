# METADATA
# title: Countries
# description: >-
#   A program reaches the countries that it is registered for, and no others.
#   Marketing reaches only countries whose law was reviewed: params.json lists them,
#   each with the date of its review and what was found.
package chirograph.countries

# METADATA
# title: An unknown country
# description: The country of the recipient's number is not known, so it cannot be one that the program may reach.
# custom:
#   id: countries.unknown
deny contains "countries.unknown" if {
	input.recipient.country == ""
}

# METADATA
# title: A country out of reach
# description: The program is not registered for the country of the recipient's number.
# custom:
#   id: countries.not_reached
deny contains "countries.not_reached" if {
	input.recipient.country != ""
	not reached
}

# METADATA
# title: A country that was not reviewed
# description: These policies have not reviewed the law of a country where the recipient may be, so marketing there is denied.
# custom:
#   id: countries.not_reviewed
deny contains "countries.not_reviewed" if marketing_unreviewed

report := {"check": "countries", "outcome": "deny", "rules": deny} if deny != set()

# METADATA
# title: A country within reach
# description: The program is registered for the country of the recipient's number.
# custom:
#   id: countries.reach
report := {"check": "countries", "outcome": "allow", "rules": ["countries.reach"]} if {
	input.recipient.country != ""
	reached
	not marketing_unreviewed
}

reached if input.recipient.country in input.program.countries

reached if "*" in input.program.countries

marketing_unreviewed if {
	input.purpose == "marketing"
	some country in possible
	not reviewed(country)
}

# A country that is not known is denied already, or by the quiet hours.
possible contains country if {
	country := input.recipient.country
	country != ""
}

possible contains place.country if {
	some place in input.recipient.places
	place.country != ""
}

reviewed(country) if data.countries.reviewed[country]

# All of them, for development.
reviewed(_) if data.countries.reviewed["*"]
