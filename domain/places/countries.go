package places

// The number metadata knows zones by prefix, and is made for fixed lines. For a mobile number of a
// country with several zones it has the capital's zone alone. The tables here come before it, so that
// a recipient in Perth is not woken because it is morning in Sydney. One zone is listed for all zones
// that have the same rules now.

// zonesByCountry has every zone of those countries with several zones where a mobile number does
// not tell where it was given out.
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

// zonesByPrefix has every zone of an area code of Canada or Brazil, where mobile numbers have
// area codes. It lists the area codes for which the metadata lacks a zone or has a wrong one.
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

// canadaZones are the zones of Canada with different rules, for a number whose area code is no
// place (600, 622 and others).
var canadaZones = []string{
	"America/Edmonton", "America/Fort_Nelson", "America/Halifax", "America/Regina", "America/St_Johns",
	"America/Toronto", "America/Vancouver", "America/Whitehorse", "America/Winnipeg",
}
