package sms

import (
	"slices"

	"github.com/nyaruka/phonenumbers"

	"github.com/chirograph/chirograph/domain/event"
)

// The number metadata knows zones by prefix, made for fixed lines: of a country in
// several zones it gives a mobile number the capital's alone. The tables here go
// before it, so that nobody in Perth is woken because Sydney is up. A zone stands for
// all that have its rules now.

// zonesByCountry has every zone of the countries in several zones whose mobile
// numbers do not tell where they were given out.
var zonesByCountry = map[string][]string{
	"AU": {"Australia/Adelaide", "Australia/Brisbane", "Australia/Darwin", "Australia/Eucla", "Australia/Lord_Howe", "Australia/Perth",
		"Australia/Sydney", "Indian/Christmas", "Indian/Cocos"}, // the last two share Australia's numbers
	"CD": {"Africa/Kinshasa", "Africa/Lubumbashi"},
	"CL": {"America/Punta_Arenas", "America/Santiago", "Pacific/Easter"},
	"EC": {"America/Guayaquil", "Pacific/Galapagos"},
	"ES": {"Atlantic/Canary", "Europe/Madrid"},
	"FM": {"Pacific/Chuuk", "Pacific/Kosrae", "Pacific/Pohnpei"},
	"GL": {"America/Danmarkshavn", "America/Nuuk", "America/Scoresbysund", "America/Thule"},
	"ID": {"Asia/Jakarta", "Asia/Jayapura", "Asia/Makassar"},
	"KI": {"Pacific/Kanton", "Pacific/Kiritimati", "Pacific/Tarawa"},
	"MN": {"Asia/Hovd", "Asia/Ulaanbaatar"},
	"NZ": {"Pacific/Auckland", "Pacific/Chatham"},
	"PF": {"Pacific/Gambier", "Pacific/Marquesas", "Pacific/Tahiti"},
	"PG": {"Pacific/Bougainville", "Pacific/Port_Moresby"},
	"PT": {"Atlantic/Azores", "Europe/Lisbon"},
	"RU": {"Asia/Irkutsk", "Asia/Kamchatka", "Asia/Krasnoyarsk", "Asia/Magadan", "Asia/Omsk", "Asia/Vladivostok", "Asia/Yakutsk",
		"Asia/Yekaterinburg", "Europe/Kaliningrad", "Europe/Moscow", "Europe/Samara"},
}

// zonesByPrefix has every zone of an area code of Canada or Brazil, where mobile
// numbers have one, and where the metadata lacks a zone of it or has a wrong one.
var zonesByPrefix = map[string][]string{
	"+1236": britishColumbia, "+1250": britishColumbia, "+1257": britishColumbia, "+1672": britishColumbia, "+1778": britishColumbia,
	"+1306": saskatchewan, "+1474": saskatchewan, "+1639": saskatchewan,
	"+1367": eastQuebec, "+1418": eastQuebec, "+1581": eastQuebec,
	"+1709": newfoundland, "+1879": newfoundland,
	"+1807": {"America/Toronto", "America/Winnipeg"},
	"+1867": {"America/Edmonton", "America/Toronto", "America/Whitehorse", "America/Winnipeg"},

	"+5581": {"America/Noronha", "America/Recife"}, // Pernambuco with its islands
	"+5591": {"America/Belem"}, "+5593": {"America/Santarem"}, "+5594": {"America/Belem"},
	"+5597": {"America/Eirunepe", "America/Manaus"},
}

var (
	britishColumbia = []string{"America/Edmonton", "America/Fort_Nelson", "America/Vancouver"}
	saskatchewan    = []string{"America/Edmonton", "America/Regina"} // Lloydminster keeps Alberta's time
	eastQuebec      = []string{"America/Halifax", "America/Toronto"} // the Magdalen Islands keep Atlantic time
	newfoundland    = []string{"America/Halifax", "America/St_Johns"}
)

// canadaZones are the zones of Canada with rules of their own, for a number whose area
// code is no place (600, 622 and their like).
var canadaZones = []string{
	"America/Edmonton", "America/Fort_Nelson", "America/Halifax", "America/Regina", "America/St_Johns",
	"America/Toronto", "America/Vancouver", "America/Whitehorse", "America/Winnipeg",
}

// zones returns the zones in which the holder of a number of country, which is not
// the US, may be; nil where none is known.
func (n Number) zones(country string) []string {
	if len(n) > 5 && zonesByPrefix[string(n[:5])] != nil {
		return zonesByPrefix[string(n[:5])]
	}
	if z := zonesByCountry[country]; z != nil {
		return z
	}
	z, err := phonenumbers.GetTimezonesForPrefix(string(n))
	if err != nil || slices.Contains(z, phonenumbers.UNKNOWN_TIMEZONE) {
		return nil
	}
	if country == "CA" && len(z) > len(canadaZones) {
		// The metadata answers with all of +1 where an area code is no place.
		return canadaZones
	}
	return z
}

// Event is the place as events hold it: "US-FL America/New_York", "GB Europe/London".
func (p Place) Event() event.Place {
	where := p.Country
	if p.State != "" {
		where += "-" + p.State
	}
	return event.Place(where + " " + p.Zone)
}
