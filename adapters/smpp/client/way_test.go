package client

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/nyaruka/phonenumbers"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/domain/words"
)

// This file holds the whole way of a text from a handset: from the octets of a deliver_sm to the streams
// of persons. What must hold is said from what was drawn (who wrote, what, to whom), and never by the code
// under test: the numbering plans below are a second, small copy.

// A numbering is how the numbers of a country's handsets look and how they are dialled. In a shape, a
// letter stands for the digits that may stand there: X any, N 2 to 9, M 6 to 9, F 3 to 9.
type numbering struct {
	country, code string
	trunks, exits []string
	shapes        []string
}

var numberings = []numbering{
	{"US", "1", []string{"1"}, []string{"011"}, []string{"212NXXXXXX", "415NXXXXXX", "659NXXXXXX", "4795550NXX", "2125550NXX", "907NXXXXXX", "3125NXXXXX"}},
	{"GB", "44", []string{"0"}, []string{"00"}, []string{"74XXXXXXXX", "75XXXXXXXX", "77XXXXXXXX", "79XXXXXXXX"}},
	{"FR", "33", []string{"0"}, []string{"00"}, []string{"6XXXXXXXX", "73XXXXXXX"}},
	{"DE", "49", []string{"0"}, []string{"00"}, []string{"151XXXXXXXX", "160XXXXXXX", "17NXXXXXXX"}},
	{"IN", "91", []string{"0"}, []string{"00"}, []string{"9MXXXXXXXX", "8MXXXXXXXX", "7MXXXXXXXX"}},
	{"BR", "55", []string{"0"}, []string{"0021", "0015", "0041"}, []string{"119NXXXXXXX", "219NXXXXXXX", "719NXXXXXXX"}},
	{"IT", "39", nil, []string{"00"}, []string{"32XXXXXXXX", "34XXXXXXXX", "33XXXXXXXX"}},
	{"CN", "86", []string{"0"}, []string{"00"}, []string{"13XXXXXXXXX", "15XXXXXXXXX", "18XXXXXXXXX"}},
	{"AR", "54", []string{"0"}, []string{"00"}, []string{"911NXXXXXXX", "9351NXXXXXX", "92901NXXXXX"}},
	{"MX", "52", []string{"01", "044", "045"}, []string{"00", "09"}, []string{"55NXXXXXXX", "33NXXXXXXX", "664NXXXXXX"}},
	{"NO", "47", nil, []string{"00"}, []string{"4XXXXXXX", "9XXXXXXX", "95550NXX"}},
	{"SG", "65", nil, []string{"001", "00"}, []string{"8NXXXXXX", "9NXXXXXX"}},
	{"RU", "7", []string{"8"}, []string{"810"}, []string{"91XXXXXXXX", "90XXXXXXXX"}},
	{"KZ", "7", []string{"8"}, []string{"810"}, []string{"701XXXXXXX", "777XXXXXXX"}},
	{"ES", "34", nil, []string{"00"}, []string{"6XXXXXXXX"}},
	{"JP", "81", []string{"0"}, []string{"010"}, []string{"90NXXXXXXX", "80NXXXXXXX"}},
	{"AU", "61", []string{"0"}, []string{"0011"}, []string{"4NXXXXXXX"}},
	{"HU", "36", []string{"06"}, []string{"00"}, []string{"20NXXXXXX", "30NXXXXXX", "70NXXXXXX"}},
	{"MA", "212", []string{"0"}, []string{"00"}, []string{"6NXXXXXXX"}},
	{"TH", "66", []string{"0"}, []string{"001"}, []string{"8NXXXXXXX", "9NXXXXXXX"}},
	{"KE", "254", []string{"0"}, []string{"000"}, []string{"7NXXXXXXX"}},
}

// subscriber draws the digits of a handset, without the calling code.
func (n *numbering) subscriber(d *draw) string {
	shape := []byte(d.pick(n.shapes...))
	for i, c := range shape {
		switch c {
		case 'X':
			shape[i] = byte('0' + d.n(10))
		case 'N':
			shape[i] = byte('2' + d.n(8))
		case 'M':
			shape[i] = byte('6' + d.n(4))
		}
	}
	return string(shape)
}

// lengths are how many digits handsets have.
func (n *numbering) lengths() (out []int) {
	for _, shape := range n.shapes {
		out = append(out, len(shape))
	}
	switch n.country {
	case "AR", "BR": // carriers leave the 9 out
		out = append(out, 10)
	case "IT":
		out = append(out, 9)
	}
	return out
}

// grade says how well the form of an address lets its person be found.
type grade int

const (
	gradeTail     grade = iota // the last digits alone: by whom the account texted, or an officer
	gradePossible              // the person is among the possible ones
	gradeCertain               // no reader may doubt it
)

// spoken is an inbound message, with what is true of it.
type spoken struct {
	home          *numbering
	person        sms.Number
	address       string // as the carrier writes it
	digits        string // the digits of the number in it, in order; "" if the number is spoiled
	form, dressed string // which form it has, for a report
	grade         grade
	// usual says that carriers write numbers so, and label them so. Then no other person may be certain. An
	// unusual form may be just what another person's usual form is.
	usual    bool
	ton, npi byte

	reg *control.Registry
	own []string // the countries of the account's settings
	// countries are those whose national numbers the account writes.
	countries []string

	number       string // that was texted, as programs register it; "": none
	to           string
	toTON, toNPI byte
	owners       []string // the tenants that send from the number that was texted
	// toUsual says that carriers write their own numbers so, toPlain that no reader may doubt which it is.
	toUsual, toPlain bool

	text string
	asks asks
	// labelled says that data_coding is the text's, and the octets are the text's and no more.
	labelled bool
	divided  bool // it is a part of a longer message
	esm      byte
	alphabet sms.Encoding
	sniff    bool
	frame    []byte
}

type asks int

const (
	asksNothing  asks = iota
	asksStop          // by a word that stops alone, in every country
	asksPerhaps       // by words that stop, and others: in force or held
	asksRule          // by letters that are prescribed in the writer's country
	asksAnything      // what it asks cannot be said: letters that stop in another country, octets of any kind, a receipt
)

func (s *spoken) String() string {
	return fmt.Sprintf("%s of %s wrote %q as %q (%d, %d) to %q (%d, %d) of %v, account %v %v, esm_class %#x, %x", s.person, s.home.country, s.text,
		s.address, s.ton, s.npi, s.to, s.toTON, s.toNPI, s.owners, s.own, s.countries, s.esm, s.frame)
}

// The numbers that programs send from. The same digits are a number of Norway and, without its calling code,
// one of the US.
const (
	bankNumber, clinicNumber, sharedCode = "+12025550101", "+447700900001", "72345"
	lookalikeUS, lookalikeNO             = "+14795550163", "+4795550163"
	unownedNumber                        = "+12025550199"
)

// entitiesOf are the legal entities whose programs send from a number, by tenant.
var entitiesOf = map[string]map[string][]string{
	bankNumber:   {"bank": {"Cards", "Loans"}},
	clinicNumber: {"clinic": {"Clinic"}},
	sharedCode:   {"bank": {"Cards"}, "clinic": {"Clinic"}},
	lookalikeUS:  {"bank": {"Loans"}},
	lookalikeNO:  {"clinic": {"Clinic"}},
}

// accountSettings are the countries of an account.
var accountSettings = [][]string{{"US"}, {"GB"}, {"FR"}, {"DE"}, {"IN"}, {"BR"}, {"IT"}, {"CN"}, {"AR"}, {"MX"}, {"NO"}, {"SG"}, {"RU"}, {"KZ"}, {"ES"}, {"JP"}, {"AU"}, {"HU"},
	{"MA"}, {"TH"}, {"KE"}, {"US", "GB"}, {"US", "NO"}, {"CN", "US"}, {"GB", "IN"}, {"DE", "IT"}, {"US", "GB", "IN"}, {"AR", "BR", "MX"}, {"NO", "SG"}, {"MA", "US"}, {"CN", "TH", "US"}, {"BR", "CN"}}

// controlEvents are what a ledger's control has: two tenants with programs in some countries, and one account.
func controlEvents(countries []string) []*event.Event {
	return []*event.Event{
		{Tenant: "bank", Data: &event.ProgramChanged{Name: "cards", LegalEntity: "Cards", Countries: countries[:1], Purposes: []string{"account"},
			Senders: []string{bankNumber, sharedCode}, By: "test"}},
		{Tenant: "bank", Data: &event.ProgramChanged{Name: "loans", LegalEntity: "Loans", Countries: countries, Purposes: []string{"account"},
			Senders: []string{bankNumber, lookalikeUS}, By: "test"}},
		{Tenant: "clinic", Data: &event.ProgramChanged{Name: "visits", LegalEntity: "Clinic", Countries: countries[len(countries)-1:], Purposes: []string{"account"},
			Senders: []string{clinicNumber, sharedCode, lookalikeNO}, By: "test"}},
		{Data: &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "test"}}, By: "test"}},
		{Data: &event.LevelRaised{Level: 2, By: "test"}},
	}
}

// registries has a registry for each of accountSettings, in which programs have those countries, and as
// its last one a registry in which they have none of their own.
var registries = sync.OnceValue(func() (out []*control.Registry) {
	for _, countries := range append(slices.Clone(accountSettings), []string{"*"}) {
		reg := &control.Registry{}
		for i, e := range controlEvents(countries) {
			reg, _ = reg.Apply(int64(i), e)
		}
		out = append(out, reg)
	}
	return out
})

// account draws the account's countries: as its own setting, or from the programs.
func (s *spoken) account(d *draw) {
	i := d.n(len(accountSettings))
	if d.n(4) > 0 { // mostly one with the writer's country
		for !slices.Contains(accountSettings[i], s.home.country) {
			i = (i + 1) % len(accountSettings)
		}
	}
	s.countries = accountSettings[i]
	switch d.n(3) {
	case 0:
		s.reg = registries()[i]
	case 1: // the programs have other countries
		s.own, s.reg = s.countries, registries()[d.n(len(registries()))]
	default:
		s.own, s.reg = s.countries, registries()[len(accountSettings)]
	}
}

// at reports whether the account writes national numbers of a country.
func (s *spoken) at(code string) bool {
	return slices.ContainsFunc(numberings, func(n numbering) bool { return n.code == code && slices.Contains(s.countries, n.country) })
}

// alone reports whether the account writes national numbers of the writer's country alone.
func (s *spoken) alone() bool { return len(s.countries) == 1 && s.at(s.home.code) }

// national reports whether the label says, rightly or wrongly, that the number is a national one.
func (s *spoken) national() bool { return s.ton == 2 || s.npi == 8 }

// from draws the writer and the form of the address.
func (s *spoken) from(d *draw) {
	national := s.home.subscriber(d)
	s.person = sms.Number("+" + s.home.code + national)
	s.ton, s.npi = byte(d.n(8)), []byte{1, 1, 0, 8, 14, 3}[d.n(6)]
	if d.n(3) == 0 {
		s.ton = byte(d.n(256))
	}
	form := d.n(20)
	s.form = strconv.Itoa(form)
	s.written(d, form, national)
	s.dress(d)
}

// written writes the number in one of the ways in which carriers do.
//
// Certain are: E.164 with its plus sign, if its label does not say that it is national; and at an account of the writer's
// country alone, E.164 of type 1 (and, behind an international prefix, of type 0), and a national number
// of type 2, or behind its trunk 0 of type 0. All else may be held.
func (s *spoken) written(d *draw, form int, national string) {
	n := s.home
	full, here := n.code+national, s.at(n.code)
	trunk := ""
	if len(n.trunks) > 0 {
		trunk = d.pick(n.trunks...)
	}
	exit := d.pick(n.exits...)
	possible := func(written string, ok bool) {
		s.address, s.grade = written, gradeTail
		if ok {
			s.grade = gradePossible
		}
	}
	claimed := (s.ton == 0 || s.ton == 1) && s.npi < 2
	certain := func(ok bool) {
		if ok && s.grade == gradePossible {
			s.grade = gradeCertain
		}
	}
	switch form {
	case 0, 1: // E.164
		possible("+"+full, true)
		certain(!s.national())
		s.usual = true
	case 2, 3: // E.164 without its plus sign
		possible(full, !s.national() || s.alone())
		certain(s.alone() && s.ton == 1 && s.npi < 2)
		s.usual = claimed
	case 4, 5: // behind an international prefix that is used in most places
		prefix := d.pick("00", "011")
		possible(prefix+full, prefix == "00" || !s.national())
		certain(s.alone() && claimed && len(n.exits) == 1 && s.address == exit+full)
		s.usual = claimed
	case 6: // behind the country's own
		possible(exit+full, here)
		s.usual = claimed && here
	case 7: // a plus sign before a prefix
		possible("+"+d.pick("00", "011")+full, true)
	case 8: // a plus sign before a trunk prefix
		possible("+"+trunk+national, here && (trunk != "" || !isPossible(national)))
	case 9, 10: // national, with the trunk prefix
		possible(trunk+national, here)
		certain(s.alone() && (s.ton == 2 || s.ton == 0 && s.npi < 2 && trunk == "0" && !strings.HasPrefix(national, "11")))
		s.usual = here && (s.ton == 0 || s.ton == 2)
	case 11, 12: // national, without it
		possible(national, here)
		certain(s.alone() && s.ton == 2)
		s.usual = here && s.ton < 3
	case 13: // a trunk 0 before the calling code
		possible("0"+full, s.alone())
	case 14: // a plus sign before a national number
		possible("+"+national, here && !isPossible(national))
	case 15: // a trunk prefix behind the calling code
		possible(d.pick("+", "", "00")+n.code+trunk+national, trunk == "0" && (s.alone() || !s.national()))
	case 16: // two plus signs
		possible("++"+full, true)
	case 17: // a local 0 before an international prefix
		possible("000"+full, false)
	default: // what is special in some countries
		s.special(d, national, possible)
	}
	if n.country == "AR" && here && (form == 9 || form == 10 || form == 11 || form == 12) {
		s.special(d, national, possible)
	}
	if s.ton > 7 {
		s.usual = false
	}
	if (s.ton == 3 || s.ton == 6) && len(s.address) <= 8 {
		s.usual, s.grade = false, gradeTail // it may be a short code
	}
}

// isPossible reports whether digits are as many as those of an international number of their country.
func isPossible(digits string) bool {
	p, err := phonenumbers.Parse("+"+digits, "")
	return err == nil && phonenumbers.IsPossibleNumber(p)
}

// special writes a number of Argentina or Mexico as handsets there dial it.
func (s *spoken) special(d *draw, national string, possible func(string, bool)) {
	here := s.at(s.home.code)
	switch s.home.country {
	case "AR":
		area, local := national[1:3], national[3:]
		if area != "11" {
			area, local = national[1:4], national[4:]
		}
		if national[1] == '2' {
			area, local = national[1:5], national[5:]
		}
		switch d.n(5) {
		case 0:
			possible("+54"+area+local, true)
		case 1:
			possible("0"+area+"15"+local, here)
		case 2:
			possible(area+"15"+local, here)
		case 3:
			possible("0"+area+local, here)
		default:
			possible(area+local, here)
		}
	case "MX":
		switch d.n(3) {
		case 0:
			possible("+521"+national, true)
		case 1:
			possible("521"+national, !s.national() || s.alone())
		default:
			possible("1"+national, here)
		}
	default:
		possible("+"+s.home.code+national, true)
	}
}

// dress writes what carriers write between and around digits.
func (s *spoken) dress(d *draw) {
	s.digits = strings.TrimLeft(s.address, "+")
	between := func(sep string) {
		at := len(s.address) / 3
		s.address = s.address[:at] + sep + s.address[at:2*at] + sep + s.address[2*at:]
	}
	lower := func(most grade) {
		s.grade, s.usual = min(s.grade, most), false
	}
	dress := d.n(24)
	s.dressed = strconv.Itoa(dress)
	switch dress {
	case 0:
		between(d.pick(" ", "-", ".", " - "))
	case 1:
		s.address = "(" + s.address + ")"
	case 2:
		between(d.pick("/", ",", "_", "*", ":"))
		lower(gradePossible)
	case 3:
		between(d.pick("\xa0", "\xad", "\xc2\xa0", "\x80", "\t", "\x1b", "\xe2\x80\x8b"))
		lower(gradePossible)
	case 4:
		s.address = d.pick("\xe9", "\xff", "\xef\xbb\xbf") + s.address
		lower(gradePossible)
	case 5:
		s.address += d.pick("\xe9", "\xff\xff", "\x7f", " ")
		lower(gradePossible)
	case 6:
		s.address = d.pick("sip:", "tel:", "sips:", "<", "\"", "a", "tel:/") + s.address
		lower(gradePossible)
	case 7:
		s.address += d.pick("@host", ";x=1", ">", "@sms.example", "/TYPE=PLMN")
		lower(gradePossible)
	case 8:
		s.address = "sip:" + s.address + "@host;user=phone"
		lower(gradePossible)
	case 9: // digits of another script; the first ones, so that the address has room
		var b strings.Builder
		for i, c := range s.address {
			if c >= '0' && c <= '9' && i < 4 {
				c += d.script()
			}
			b.WriteRune(c)
		}
		s.address = b.String()
		lower(gradePossible)
	case 10: // a digit is another octet now
		at := d.n(max(1, len(s.address)-7))
		s.address = s.address[:at] + d.pick("\xe9", "?", "x", "\x80") + s.address[at+1:]
		lower(gradeTail)
		s.digits = ""
	case 11: // it is no number
		s.address, s.digits = d.pick("", "BANK", "72345", "\xe9", "+", strings.Repeat("7", 70)), ""
		lower(gradeTail)
	}
}

// script is how far the digits of a script are from those of ASCII.
func (d *draw) script() rune { return []rune{'٠', '०', '０'}[d.n(3)] - '0' }

// texted draws the number that was texted, and its form.
func (s *spoken) texted(d *draw) {
	number := d.pick(bankNumber, bankNumber, clinicNumber, sharedCode, lookalikeUS, lookalikeNO, unownedNumber, "")
	for tenant := range entitiesOf[number] {
		s.owners = append(s.owners, tenant)
	}
	slices.Sort(s.owners)
	s.toTON, s.toNPI = byte(d.n(7)), 1
	s.number, s.to, s.toUsual, s.toPlain = number, number, true, true
	if number == "" {
		s.to = d.pick("MyBank", "", "caf\xe9", "911", "+")
		return
	}
	if number == sharedCode {
		return
	}
	n := &numberings[slices.IndexFunc(numberings, func(n numbering) bool { return strings.HasPrefix(number[1:], n.code) })]
	here := s.at(n.code)
	national := number[1+len(n.code):]
	trunk := ""
	if len(n.trunks) > 0 {
		trunk = n.trunks[0]
	}
	usual := func(written string, usual, plain bool) { s.to, s.toUsual, s.toPlain = written, usual, usual && plain }
	switch d.n(8) {
	case 0: // E.164
	case 1, 2:
		usual(number[1:], s.toTON < 2, s.toTON == 1 && number != lookalikeNO)
	case 3:
		usual(d.pick("00", "011")+number[1:], s.toTON < 2, false)
	case 4, 5:
		usual(national, here && (s.toTON == 0 || s.toTON == 2), len(s.countries) == 1 && s.toTON == 2)
	case 6:
		usual(trunk+national, here && (s.toTON == 0 || s.toTON == 2), len(s.countries) == 1 && s.toTON == 2)
	default:
		usual(d.pick("+00", "0", "+0")+number[1:], false, false)
	}
}

var stopWords = []string{"STOP", "stop", "Stop.", "STOP", "UNSUBSCRIBE", "quit", "ARRET", "Arrêt", "ABMELDEN", "baja", "SAIR", "СТОП", "стоп", "退订", "stopp",
	"please take me off your list", "STOP please", "إلغاء"}

var harmlessWords = []string{"thanks", "ok see you at 5", "When does the sale end?", "hello", "danke", "Привет", "спасибо", "谢谢", "Grüße", "merci, à demain", "123456", "HELP", "START"}

// countryWords are letters that stop in one country.
var countryWords = []struct{ country, text string }{{"CN", "T"}, {"CN", "TT"}, {"CN", "N"}, {"CN", "QX"}, {"TH", "R"}}

// says draws the text, with its coding, its octets and the flags around it.
func (s *spoken) says(d *draw) {
	switch d.n(12) {
	case 0, 1, 2, 3, 4:
		s.text, s.asks = d.pick(stopWords...), asksStop
	case 5, 6, 7:
		s.text, s.asks = d.pick(harmlessWords...), asksNothing
	case 8:
		w := countryWords[d.n(len(countryWords))]
		s.text, s.asks = w.text, asksAnything
		if w.country == s.home.country {
			s.asks = asksRule
		}
	case 9, 10:
		s.text, s.asks = d.pick("STOP id:5", "Stop id:5 now", "STOP 4411", "id:5 stop"), asksPerhaps
	default:
		s.text, s.asks = string(d.some(60)), asksAnything
	}
	s.esm = []byte{0, 0, 0, 0, 0x04, 0x08, 0x10, 0x20, 0x0c, 0x24, 0x80, 0x03}[d.n(12)]
	if d.n(8) == 0 && s.esm&0x3c != 0 {
		s.text, s.asks = d.pick("id:7 sub:001 dlvrd:001 stat:DELIVRD err:000 text:STOP", "id:7 stat:2", "id:abc stat:UNDELIV err:001"), asksAnything
	}
	s.sniff = d.n(4) == 0
}

// latin1 is a text in ISO 8859-1; false if it has other characters.
func latin1(text string) (b []byte, ok bool) {
	for _, r := range text {
		if r > 0xff {
			return nil, false
		}
		b = append(b, byte(r))
	}
	return b, true
}

func ascii(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

// septets reports whether a text is its own GSM septets.
func septets(text string) bool {
	return ascii(text) && !strings.ContainsAny(text, "@$_[]{}^~|\\`") && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' })
}

// coded draws how the text is written in octets, and data_coding.
func (s *spoken) coded(d *draw, fill int) (octets []byte, coding byte) {
	if s.asks == asksAnything && !ascii(s.text) {
		return []byte(s.text), byte(d.n(256))
	}
	s.labelled = true
	switch d.n(8) {
	case 0:
		octets, coding = utf16Octets(s.text, binary.BigEndian), 8
	case 1:
		octets, coding = utf16Octets("\ufeff"+s.text, binary.BigEndian), 8
	case 2:
		octets, coding, s.labelled = utf16Octets(d.pick("", "\ufeff")+s.text, binary.LittleEndian), 8, false
	case 3:
		octets, coding, s.labelled = []byte(d.pick("", "\xef\xbb\xbf")+s.text), 0, false
	case 4:
		if octets, coding, s.labelled = []byte(s.text), 0, false; septets(s.text) && len(s.text) > 2 {
			octets = pack(s.text, fill)
		}
	case 5:
		var ok bool
		if octets, ok = latin1(s.text); !ok {
			octets, s.labelled = []byte(s.text), false
		}
		coding = 3
	default:
		if octets, coding = []byte(s.text), 0; !septets(s.text) {
			octets = utf16Octets(s.text, binary.BigEndian)
			coding = 8
		}
	}
	if d.n(3) == 0 {
		coding, s.labelled = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0f, 0xf0, 0xf1, 0xf5, 0xe0, 0x10, 0x40, 0xff}[d.n(17)], false
	}
	return octets, coding
}

// write makes the octets of the deliver_sm.
func (s *spoken) write(d *draw) {
	b := make([]byte, wire.HeaderLen, 320)
	b = append(append(b, d.pick("", "CMT")...), 0)
	b = append(append(append(b, s.ton, s.npi), s.address...), 0)
	b = append(append(append(b, s.toTON, s.toNPI), s.to...), 0)
	var header string
	fill := 0
	if d.n(6) == 0 {
		h := headers[d.n(len(headers))]
		header, fill = h.octets, h.fill
		s.esm |= data.SM_UDH_GSM
		s.divided = header[0] > 2
	}
	s.alphabet = []sms.Encoding{sms.GSM7, sms.Latin1}[d.n(2)]
	octets, coding := s.coded(d, fill)
	octets = append([]byte(header), octets...)
	b = append(b, s.esm, byte(d.n(256)), byte(d.n(4)), 0, 0, 0, 0, coding, 0)
	payload := append([]byte{0x04, 0x24, byte(len(octets) >> 8), byte(len(octets))}, octets...)
	switch d.n(6) {
	case 0:
		b = append(append(b, 0), payload...)
	case 1:
		b = append(append(append(b, byte(len(octets))), octets...), payload...)
	default:
		b = append(append(b, byte(len(octets))), octets...)
	}
	for range d.n(3) {
		switch d.n(8) {
		case 0:
			b = append(b, "\x02\x0c\x00\x02\x00\x01\x02\x0e\x00\x01\x02\x02\x0f\x00\x01\x01"...) // a part of two
			s.divided = true
		case 1:
			b = append(b, "\x14\x01\x00\x03abc"...)
		case 2:
			b = append(b, "\x02\x04\x00\x02\xbe\xef"...)
		case 3:
			b = append(b, "\x04\x23\x00\x03\x03\x00\x1b"...)
		}
	}
	switch d.n(10) {
	case 0:
		b = append(b, 0)
		s.labelled = false
	case 1:
		b = append(b, 0x14, 0x02, 0x9c, 0x40, 1, 2, 3)
		s.labelled = false
	case 2:
		b = append(b, d.some(12)...)
		s.labelled = false
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(data.DELIVER_SM))
	binary.BigEndian.PutUint32(b[12:], 7)
	s.frame = b
}

// speak draws a message.
func speak(d *draw) *spoken {
	s := &spoken{home: &numberings[d.n(len(numberings))]}
	s.account(d)
	s.draw(d)
	return s
}

// draw draws the rest of a message to an account.
func (s *spoken) draw(d *draw) {
	s.from(d)
	s.texted(d)
	s.says(d)
	s.write(d)
}

// A way is what becomes of a message, as far as functions without a log say it.
type way struct {
	delivery ledger.Delivery
	who      receipts.Who
	placed   receipts.Placement
	// streams are the states of the streams that it goes to, by tenant and number.
	streams map[string]*recipient.State
	review  *recipient.State
}

// goes takes a message the whole way, as the adapter and then a node do.
func (s *spoken) goes(t testing.TB) (w way, said bool) {
	p, err := wire.Parse(s.frame)
	if err != nil || p.Message == nil {
		t.Fatalf("%v: %v", s, err)
	}
	w.delivery = readDelivery(p.Message, Config{Alphabet: s.alphabet, SniffReceipts: s.sniff})
	d := &w.delivery
	d.Account = "test"
	if !bytes.Equal(d.Raw, s.frame[wire.HeaderLen:]) {
		t.Fatalf("%v: its octets are not kept", s)
	}
	if !d.Said() {
		return w, false
	}
	w.who = receipts.WhoIs(d, receipts.Countries(s.reg, d.Account, s.own))
	countries := slices.DeleteFunc(slices.Clone(w.who.Countries), func(c string) bool { return c == "*" })
	if len(w.who.Numbers) > 0 {
		countries = nil
		for _, n := range w.who.Numbers {
			countries = append(countries, places.BuiltIn().Country(n))
		}
		slices.Sort(countries)
		countries = slices.Compact(countries)
	}
	c := words.Context{Tenants: receipts.Tenants(s.reg, d, w.who.Countries)}
	heard := receipts.Hear(d.Texts, d.Unreadable, receipts.ByLists(words.Standard(), c, countries...))
	if d.Mislabelled {
		heard = heard.Revoking()
	}
	w.placed = receipts.Place(s.reg, d, w.who, heard)
	w.streams = map[string]*recipient.State{}
	fold := func(tenant string, data event.Data) *recipient.State {
		state := recipient.New(tenant, event.Pseudonym{1})
		part := recipient.PartitionState{Level: 2}
		if why := state.Evolve(&part, 0, &event.Event{ID: event.ID{1}, Time: time.UnixMilli(1e12), Tenant: tenant, Subject: state.Subject, Data: data}); why != "" {
			t.Fatalf("%v: void, %s", s, why)
		}
		return state
	}
	if w.placed.Tenant != "" {
		w.streams[w.placed.Tenant+string(w.who.Numbers[0])] = fold(w.placed.Tenant, &w.placed.Event)
	} else {
		w.review = fold("", &w.placed.Event)
	}
	for i := range w.placed.Held {
		h := &w.placed.Held[i]
		w.streams[h.Tenant+string(h.Number)] = fold(h.Tenant, &h.Event)
	}
	return w, true
}

// check holds what is true of every message that is acknowledged.
func (s *spoken) check(t testing.TB) {
	w, said := s.goes(t)
	fail := func(format string, a ...any) {
		t.Helper()
		d := &w.delivery
		t.Fatalf("%s\n%v\nread as %q, unreadable %v, receipt %+v, part %+v\nof %+v\nfor %q: %+v, held %+v", fmt.Sprintf(format, a...), s, d.Texts, d.Unreadable, d.Receipt, d.Concat,
			w.who, w.placed.Tenant, w.placed.Event, w.placed.Held)
	}
	stops := s.asks == asksStop || s.asks == asksPerhaps || s.asks == asksRule
	if !said {
		// A receipt of a carrier is one. A text that has the id of a receipt is one only where the carrier says so.
		labelled := s.esm&0x3c == 0x04 || s.esm&0x3c == 0x20 || s.esm&0x3c == 0x24 || s.sniff && s.esm&0x3c == 0
		if stops && !(labelled && strings.Contains(s.text, "id:")) {
			fail("a person's words are taken for a receipt")
		}
		return
	}
	s.checkPerson(fail, &w)
	if w.who.Certain && w.who.Numbers[0] != s.person {
		return // it has another person's usual form
	}
	s.checkStreams(fail, &w, stops)
}

// checkPerson holds whose words they may be.
func (s *spoken) checkPerson(fail func(string, ...any), w *way) {
	numbers := w.who.Numbers
	switch {
	case len(numbers) > 8:
		fail("more than eight persons")
	case w.who.Certain && len(numbers) != 1:
		fail("%d persons are certain", len(numbers))
	case w.who.Certain && numbers[0] != s.person && (s.usual || !s.isUsualOf(numbers[0])):
		fail("a stranger is certain")
	case s.grade == gradeCertain && !w.who.Certain:
		fail("the person is not certain")
	case s.grade == gradePossible && !w.who.Certain && !slices.Contains(numbers, s.person):
		fail("the person is not possible")
	case s.digits == "" && w.who.Certain:
		fail("a spoiled address is certain")
	}
	for _, n := range numbers {
		// The whole of a short national number may stand behind a trunk prefix.
		like := min(7, len(n)-4)
		if strings.HasPrefix(string(n), "+54") {
			like = min(like, 6) // a 15 may stand before the last six
		}
		if s.digits != "" && !strings.HasSuffix(s.digits, string(n[len(n)-like:])) {
			fail("%s does not end like the address", n)
		}
	}
	if s.digits != "" && !strings.HasSuffix(s.digits, string(s.person[len(s.person)-6:])) {
		fail("the test wrote another number")
	}
}

// isUsualOf reports whether the address is just what a carrier writes for another person's handset: then no
// reader can know better. If the form does not tell the person at this account (a national number of a country
// that the account does not write), it is enough that the other's national number ends it.
func (s *spoken) isUsualOf(other sms.Number) bool {
	p, err := phonenumbers.Parse(string(other), "")
	if err != nil || !phonenumbers.IsPossibleNumber(p) {
		return false
	}
	code := strconv.Itoa(int(p.GetCountryCode()))
	full, national := string(other[1:]), string(other[1+len(code):])
	written := strings.Map(func(r rune) rune {
		if r == '+' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s.address)
	if written == "+"+full || written == full && s.ton == 1 || s.grade == gradeTail && strings.HasSuffix(written, full) {
		return true
	}
	i := slices.IndexFunc(numberings, func(n numbering) bool { return n.code == code })
	if i >= 0 && !slices.Contains(numberings[i].lengths(), len(national)) {
		return false // no handset has so many digits
	}
	if s.grade == gradeTail && (strings.HasSuffix(written, national) || code == "54" && strings.HasSuffix(written, national[len(national)-6:])) {
		return true // in Argentina the 9 may be missing, and a 15 stand before the last six
	}
	if before, ok := strings.CutSuffix(written, full); ok && s.ton != 2 && s.ton != 4 && (before == "00" || before == "011" || before == "") {
		return true
	}
	before, ok := strings.CutSuffix(written, national)
	return ok && i >= 0 && s.at(code) && (before == "" || slices.Contains(numberings[i].trunks, before))
}

// checkStreams holds what the words do, and in whose streams.
func (s *spoken) checkStreams(fail func(string, ...any), w *way, stops bool) {
	if w.placed.Tenant == "" && len(w.review.OpenReviews()) != 1 {
		fail("it is in no person's stream, and no officer reads it")
	}
	want := entitiesOf[s.number]
	for key, state := range w.streams {
		for _, o := range state.OptOuts {
			switch {
			case !o.Unclear && !strings.HasSuffix(key, string(s.person)):
				fail("a stranger is opted out")
			case !o.Unclear && s.asks == asksNothing && (s.labelled || s.home.country != "CN" && s.home.country != "TH"):
				fail("harmless words opt out") // octets with a wrong label may be a letter that stops in a country
			case o.Unclear && s.asks == asksNothing && s.labelled && !s.divided:
				fail("harmless words hold")
			case s.toPlain && len(want) > 0 && want[state.Tenant] == nil:
				fail("%s is stopped, which does not send from that number", state.Tenant)
			}
		}
	}
	if stops && !w.who.Certain && !slices.Contains(w.who.Numbers, s.person) {
		// Whom the account texted lately is found by the end of the number; the 15 of Argentina may be in it.
		v := nodetest.Vault{}
		if s.digits != "" && s.home.country != "AR" && ledger.TailOf(v, receipts.Ending(w.delivery.From)) != ledger.TailOf(v, string(s.person)) {
			fail("the person is not found by the end of the number")
		}
		return
	}
	if !stops {
		return
	}
	if !s.toUsual {
		if !slices.ContainsFunc([]string{"bank", "clinic"}, func(tenant string) bool { return w.streams[tenant+string(s.person)] != nil }) {
			fail("the words stop nobody")
		}
		return
	}
	if len(want) == 0 {
		want = map[string][]string{"bank": {"Cards", "Loans"}, "clinic": {"Clinic"}}
	}
	for tenant, entities := range want {
		state := w.streams[tenant+string(s.person)]
		if state == nil {
			fail("%s goes on", tenant)
		}
		for _, name := range entities {
			i := slices.IndexFunc(state.OptOuts, func(o recipient.OptOut) bool {
				return o.Reach == event.Reach{Scope: event.ScopeLegalEntity, Name: name}
			})
			if i < 0 {
				fail("%s of %s goes on", name, tenant)
			}
			if plain := s.grade == gradeCertain && s.toPlain && len(s.owners) == 1 && s.labelled && !s.divided && (s.asks == asksStop || s.asks == asksRule); plain && state.OptOuts[i].Unclear {
				fail("a plain opt-out is held only")
			}
		}
	}
}

// FuzzWholeWay takes messages of persons whose words are known the whole way, from the octets of the
// deliver_sm to the streams. See spoken.check.
func FuzzWholeWay(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 3))
	for range 100 {
		b := make([]byte, 80)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, octets []byte) { speak(&draw{octets: octets}).check(t) })
}

// TestWholeWay is FuzzWholeWay by chance. For more of it:
//
//	CHIROGRAPH_WHOLE_WAY=10000000 go test -run TestWholeWay ./adapters/smpp/client
func TestWholeWay(t *testing.T) {
	runs, seed := 40_000, uint64(1)
	if s := os.Getenv("CHIROGRAPH_WHOLE_WAY"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
		seed = rand.Uint64()
		t.Logf("seed %d", seed)
	}
	workers := runtime.GOMAXPROCS(0)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			d := draw{rng: rand.New(rand.NewPCG(seed, uint64(w)))}
			for i := w; i < runs && !t.Failed(); i += workers {
				speak(&d).check(failing{t})
			}
		})
	}
	all.Wait()
}

func BenchmarkWholeWay(b *testing.B) {
	d := draw{rng: rand.New(rand.NewPCG(1, 1))}
	b.ReportAllocs()
	for b.Loop() {
		speak(&d).goes(b)
	}
}
