package config

import (
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/sms"
)

// Carrier is one account at one message centre. What a field without `default` is
// when it is left out, client.Defaults says.
type Carrier struct {
	Account         string           `yaml:"account" doc:"Its name in the ledger. Receipts are matched by this name: never reuse it for another account. Required."`
	Addr            string           `yaml:"addr" doc:"The message centre's host:port. Required."`
	Failover        []string         `yaml:"failover" doc:"Further addresses of the same message centre, host:port, at most 8. A bind tries addr first and then these, in order, and begins with addr again after each bind that was lost."`
	TLS             bool             `yaml:"tls" default:"false" doc:"Use TLS; the message centre's certificate must be valid for its host name."`
	ServerName      string           `yaml:"server_name" otherwise:"the host of the address" doc:"The name that the message centre's certificate must have."`
	CAFile          string           `yaml:"ca_file" file:"" otherwise:"the system's" doc:"Certificates (PEM) that the message centre's certificate is checked against."`
	CertFile        string           `yaml:"cert_file" file:"" doc:"This account's own certificate (PEM), if the carrier asks for one (mTLS)."`
	KeyFile         string           `yaml:"key_file" file:"" doc:"Its private key (PEM)."`
	SystemID        string           `yaml:"system_id" doc:"For the bind; 1 to 15 characters. Required. (SMPP 3.4 §5.2.1)"`
	PasswordFile    string           `yaml:"password_file" file:"" doc:"File with the bind's password and nothing else. SMPP 3.4 §5.2.2 allows 8 characters; many carriers give longer ones, so up to 64 are sent, and config check warns of more than 8."`
	Password        string           `yaml:"password" secret:"" doc:"Instead of password_file, and only as a reference to the environment: ${ENV:NAME}."`
	SystemType      string           `yaml:"system_type" doc:"For the bind, if the carrier asks for it; at most 12 characters. (SMPP 3.4 §5.2.3)"`
	BindAs          string           `yaml:"bind_as" default:"transceiver" doc:"transceiver, or transmitter_and_receiver: two kinds of binds, for a carrier that has no transceivers. Nothing is sent while no bind receives, because a STOP could not come."`
	BindsPerNode    int              `yaml:"binds_per_node" doc:"How many binds each node keeps at the same time (with transmitter_and_receiver: of each kind); 1 to 32. window counts for each bind, tps for all together."`
	BindTON         int              `yaml:"bind_ton" default:"0" doc:"addr_ton of the bind. (SMPP 3.4 §5.2.5)"`
	BindNPI         int              `yaml:"bind_npi" default:"0" doc:"addr_npi of the bind. (SMPP 3.4 §5.2.6)"`
	AddressRange    string           `yaml:"address_range" doc:"address_range of the bind, if the carrier asks for it; at most 40 characters. (SMPP 3.4 §5.2.7)"`
	ServiceType     string           `yaml:"service_type" doc:"service_type of every submit; at most 5 characters. (SMPP 3.4 §5.2.11)"`
	SourceTON       *int             `yaml:"source_ton" otherwise:"by the sender: 5 alphanumeric, 3 short code, 1 number" doc:"source_addr_ton of every submit, 0 to 255. (SMPP 3.4 §5.2.5)"`
	SourceNPI       *int             `yaml:"source_npi" otherwise:"by the sender: 1 for a number, else 0" doc:"source_addr_npi of every submit, 0 to 255. (SMPP 3.4 §5.2.6)"`
	DestTON         *int             `yaml:"dest_ton" otherwise:"1" doc:"dest_addr_ton of every submit, 0 to 255. (SMPP 3.4 §5.2.5)"`
	DestNPI         *int             `yaml:"dest_npi" otherwise:"1" doc:"dest_addr_npi of every submit, 0 to 255. (SMPP 3.4 §5.2.6)"`
	TLVs            []TLV            `yaml:"tlvs" doc:"Optional parameters that every submit has, such as India's DLT ids; see below."`
	Senders         []CountrySenders `yaml:"senders" doc:"Senders that this carrier asks for in a country; see below."`
	Binds           int              `yaml:"binds" default:"0" doc:"How many nodes of a cluster may be bound at the same time; 0: every node. Other nodes wait for a free bind and serve no partition. tps is shared among the nodes that have one."`
	Window          int              `yaml:"window" doc:"How many submits of one bind may be unanswered at a time; 1 to 10000. Ask the carrier what it allows. Long messages go part by part if it is small."`
	TPS             float64          `yaml:"tps" default:"0" doc:"Parts a second that the account allows. 0: no limit; if the carrier throttles, the node still slows down."`
	ResponseTimeout Duration         `yaml:"response_timeout" doc:"How long a submit, a bind or enquire_link may be unanswered. Must be shorter than limits.answer_within. An answer to a submit that comes later still counts. (response_timer)"`
	EnquireLink     Duration         `yaml:"enquire_link" doc:"After this long without traffic, enquire_link is sent. Must be shorter than the idle limits of the carrier and of the firewalls between. (enquire_link_timer)"`
	RetryStatuses   []string         `yaml:"retry_statuses" doc:"Values of command_status that this carrier documents as not taken, try later; by name or number, such as ESME_RSYSERR or 0x0400. ESME_RTHROTTLED, ESME_RMSGQFUL and ESME_RX_T_APPN always are."`
	QuerySM         bool             `yaml:"query_sm" default:"false" doc:"The carrier supports query_sm: it is asked about a message before the message ends without a final receipt. (SMPP 3.4 §4.8)"`
	CancelSM        bool             `yaml:"cancel_sm" default:"false" doc:"The carrier supports cancel_sm: it is asked to cancel a message that it has and whose sender cancels it. (SMPP 3.4 §4.9)"`
	Alphabet        string           `yaml:"alphabet" doc:"What data_coding 0 means to this carrier: gsm7 or latin1. (SMPP 3.4 §5.2.19)"`
	Countries       []string         `yaml:"countries" otherwise:"the programs' countries" doc:"Countries (ISO 3166-1 alpha-2, at most 40) whose national numbers this carrier may write as the sender of an inbound text, such as 07400 123456 for a British handset. A number that is national in several of them is held for each; so name only those that it has."`
	HexIDs          bool             `yaml:"hex_ids" default:"false" doc:"This carrier writes message ids in hexadecimal in submit_sm_resp and in decimal in receipts. Without it, that is learned from receipts whose number is legible, or that it is the other way round."`
	SniffReceipts   bool             `yaml:"sniff_receipts" default:"false" doc:"Treat an inbound text that looks like a receipt as a receipt. Only for a carrier that sends receipts with esm_class 0: with any other carrier a handset could fake a delivery."`

	password string
	tls      *tls.Config
}

// TLV is an optional parameter of submit_sm.
type TLV struct {
	Name     string   `yaml:"name" doc:"Its name, for people. pe_id, template_id and tm_id are those of India's DLT, with the tags 0x1400, 0x1401 and 0x1402 unless tag says another. Required."`
	Tag      string   `yaml:"tag" otherwise:"by the name, if it is one of those" doc:"Its tag, such as \"0x1400\". Not one that submits have anyway: user_message_reference, message_payload, and those of SAR."`
	Value    string   `yaml:"value" doc:"Its value, in the form that as says. Required."`
	As       string   `yaml:"as" default:"text" doc:"text; cstring (a NUL after it); hex; or uint8, uint16, uint32 (a number)."`
	Programs []string `yaml:"programs" otherwise:"all" doc:"The programs whose submits have it: a name, or tenant/name."`
}

// CountrySenders are the senders that a carrier asks for in a country.
type CountrySenders struct {
	Country string   `yaml:"country" doc:"The recipient's country (ISO 3166-1 alpha-2). Required."`
	Senders []string `yaml:"senders" doc:"Sender IDs, in order of preference: the first that the message's program has is used. Required."`
}

const (
	bindTransceiver = "transceiver"
	bindApart       = "transmitter_and_receiver"
	// maxCountries bounds the countries of one account. More would make most addresses ambiguous.
	maxCountries = 40
	// maxFailover bounds the further addresses of one account.
	maxFailover = 8
	// standardPassword is how long a password is at most by the standard (SMPP 3.4 §5.2.2).
	standardPassword = 8
)

// defaults fills in what the account's adapter takes where a file says nothing.
func (x *Carrier) defaults() {
	d := client.Defaults()
	x.Window = cmp.Or(x.Window, d.Window)
	x.BindsPerNode = cmp.Or(x.BindsPerNode, d.Binds)
	x.ResponseTimeout = cmp.Or(x.ResponseTimeout, Duration(d.ResponseTimeout))
	x.EnquireLink = cmp.Or(x.EnquireLink, Duration(d.EnquireLink))
	x.Alphabet = cmp.Or(x.Alphabet, string(d.Alphabet))
}

// read reads the files that the account names.
func (x *Carrier) read(c *Config, path string) {
	if x.password = x.Password; x.PasswordFile != "" {
		x.password = c.readSecret(path+".password_file", x.PasswordFile, "the file is empty; leave the field out if the carrier asks for no password")
	}
	if x.TLS {
		x.tls = readTLS(c, path, x.CAFile, x.CertFile, x.KeyFile)
		x.tls.ServerName = x.ServerName
	}
}

// check says what keeps an account from being bound. answerWithin is limits.answer_within.
func (x *Carrier) check(path string, answerWithin Duration, bad note) {
	x.checkAddresses(path, bad)
	x.checkBind(path, bad)
	if x.Binds < 0 || x.Binds > 10_000 {
		bad(path+".binds", "it must be 0 (every node) to 10000")
	}
	if x.Window < 1 || x.Window > 10_000 {
		bad(path+".window", "it must be 1 to 10000")
	}
	if !(x.TPS >= 0 && x.TPS <= 1e6) {
		bad(path+".tps", "it must be 0 (no limit) to 1000000")
	}
	if x.ResponseTimeout < 0 {
		bad(path+".response_timeout", "it must not be negative")
	} else if x.ResponseTimeout >= answerWithin {
		bad(path+".response_timeout", "it must be shorter than limits.answer_within (%s); otherwise an answer can come when its hand-off is already in doubt", answerWithin)
	}
	if x.EnquireLink < 0 {
		bad(path+".enquire_link", "it must not be negative")
	}
	for i, s := range x.RetryStatuses {
		if _, ok := client.ParseStatus(s); !ok {
			bad(fmt.Sprintf("%s.retry_statuses[%d]", path, i), "write a command_status by its name or number, such as ESME_RSYSERR or 0x0400")
		}
	}
	if len(x.Countries) > maxCountries {
		bad(path+".countries", "it must have at most %d countries", maxCountries)
	}
	for i, c := range x.Countries {
		if wrong := control.WrongCountry(c); wrong != "" {
			bad(fmt.Sprintf("%s.countries[%d]", path, i), "%s", wrong)
		}
	}
	if x.Alphabet != string(sms.GSM7) && x.Alphabet != string(sms.Latin1) {
		bad(path+".alphabet", "it must be gsm7 or latin1")
	}
	if len(x.TLVs) > client.MaxTLVs {
		bad(path+".tlvs", "it must have at most %d", client.MaxTLVs)
	}
	for i := range x.TLVs {
		x.TLVs[i].check(fmt.Sprintf("%s.tlvs[%d]", path, i), bad)
	}
	countries := once{}
	for i := range x.Senders {
		x.Senders[i].check(fmt.Sprintf("%s.senders[%d]", path, i), countries, bad)
	}
}

// checkAddresses checks where the account is, and how its connections are secured.
func (x *Carrier) checkAddresses(path string, bad note) {
	if host, port, err := net.SplitHostPort(x.Addr); err != nil || host == "" || port == "" {
		bad(path+".addr", "write the message centre's host:port")
	}
	if len(x.Failover) > maxFailover {
		bad(path+".failover", "it must have at most %d addresses", maxFailover)
	}
	for i, addr := range x.Failover {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			bad(fmt.Sprintf("%s.failover[%d]", path, i), "write the message centre's host:port")
		}
	}
	checkTLS(path, x.TLS, x.CAFile, x.CertFile, x.KeyFile, bad)
	if !x.TLS && x.ServerName != "" {
		bad(path+".server_name", "it is for TLS: set tls to true, or leave it out")
	}
}

// checkBind checks what goes into the bind, and the fixed fields of submits.
func (x *Carrier) checkBind(path string, bad note) {
	if len(x.SystemID) < 1 || len(x.SystemID) > 15 {
		bad(path+".system_id", "it must have 1 to 15 characters")
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{{"system_type", x.SystemType, 12}, {"address_range", x.AddressRange, 40}, {"service_type", x.ServiceType, 5}} {
		if len(f.value) > f.most {
			bad(path+"."+f.name, "it must have at most %d characters", f.most)
		}
	}
	if x.PasswordFile != "" && x.Password != "" {
		bad(path+".password", "give password_file or password, not both")
	} else if len(x.password) > client.MaxPassword {
		field := path + ".password"
		if x.PasswordFile != "" {
			field += "_file"
		}
		bad(field, "a password must have at most %d characters", client.MaxPassword)
	}
	if x.BindAs != bindTransceiver && x.BindAs != bindApart {
		bad(path+".bind_as", "it must be %s or %s", bindTransceiver, bindApart)
	}
	if x.BindsPerNode < 1 || x.BindsPerNode > client.MaxBinds {
		bad(path+".binds_per_node", "it must be 1 to %d", client.MaxBinds)
	}
	for _, f := range []struct {
		name  string
		value *int
	}{{"bind_ton", &x.BindTON}, {"bind_npi", &x.BindNPI}, {"source_ton", x.SourceTON}, {"source_npi", x.SourceNPI},
		{"dest_ton", x.DestTON}, {"dest_npi", x.DestNPI}} {
		if f.value != nil && (*f.value < 0 || *f.value > 255) {
			bad(path+"."+f.name, "it must be 0 to 255")
		}
	}
}

// knownTags are the tags of parameters by name: those of India's DLT, as most of its carriers have them.
var knownTags = map[string]uint16{"pe_id": 0x1400, "template_id": 0x1401, "tm_id": 0x1402}

// takenTags are the parameters that every submit has, or that would say something else about its text.
var takenTags = []uint16{0x0204, 0x0424, 0x020C, 0x020E, 0x020F}

// tag is the parameter's tag; false if none is named.
func (t *TLV) tag() (uint16, bool) {
	if t.Tag == "" {
		tag, ok := knownTags[t.Name]
		return tag, ok
	}
	n, err := strconv.ParseUint(t.Tag, 0, 16)
	return uint16(n), err == nil && n > 0
}

// octets are the parameter's value.
func (t *TLV) octets() ([]byte, error) {
	switch t.As {
	case "text":
		return []byte(t.Value), nil
	case "cstring":
		return append([]byte(t.Value), 0), nil
	case "hex":
		return hex.DecodeString(t.Value)
	}
	bits, err := strconv.Atoi(strings.TrimPrefix(t.As, "uint"))
	if err != nil || !slices.Contains([]int{8, 16, 32}, bits) {
		return nil, fmt.Errorf("%q is no form", t.As)
	}
	n, err := strconv.ParseUint(t.Value, 0, bits)
	return binary.BigEndian.AppendUint32(nil, uint32(n))[4-bits/8:], err
}

func (t *TLV) check(path string, bad note) {
	if !IsName(t.Name) {
		bad(path+".name", NameRule)
	}
	if tag, ok := t.tag(); !ok {
		bad(path+".tag", `write the tag in quotes, such as "0x1400"`)
	} else if slices.Contains(takenTags, tag) {
		bad(path+".tag", "every submit may have this parameter by itself: it cannot be set here")
	}
	forms := []string{"text", "cstring", "hex", "uint8", "uint16", "uint32"}
	if !slices.Contains(forms, t.As) {
		bad(path+".as", "%q is no form%s", t.As, OneOf(t.As, forms))
		return
	}
	switch value, err := t.octets(); {
	case t.Value == "":
		bad(path+".value", "it is missing")
	case err != nil:
		bad(path+".value", "it cannot be written as %s", t.As)
	case len(value) > client.MaxTLV:
		bad(path+".value", "it must have at most %d octets", client.MaxTLV)
	}
}

func (s *CountrySenders) check(path string, countries once, bad note) {
	if wrong := control.WrongCountry(s.Country); wrong != "" {
		bad(path+".country", "%s", wrong)
	} else if first := countries.add(s.Country, path); first != "" {
		bad(path+".country", "%s has this country already", first)
	}
	if len(s.Senders) == 0 || len(s.Senders) > 200 {
		bad(path+".senders", "name 1 to 200 sender IDs")
	}
	for i, x := range s.Senders {
		if !isSender(x) {
			bad(fmt.Sprintf("%s.senders[%d]", path, i), senderRule)
		}
	}
}

// KindSMPP is the one kind of carrier that a file can name so far.
const KindSMPP = "smpp"

// Kind is which kind of carrier the account is at; the file has no field for it yet.
func (x *Carrier) Kind() string { return KindSMPP }

// SMPP is the account as its adapter takes it, with its password.
func (x *Carrier) SMPP() client.Config {
	s := client.Config{Account: x.Account, Addr: x.Addr, Failover: x.Failover, TLS: x.tls, SystemID: x.SystemID, Password: x.password, SystemType: x.SystemType,
		Apart: x.BindAs == bindApart, Binds: x.BindsPerNode, AddrTON: byte(x.BindTON), AddrNPI: byte(x.BindNPI), AddressRange: x.AddressRange,
		ServiceType: x.ServiceType, SourceTON: octet(x.SourceTON), SourceNPI: octet(x.SourceNPI), DestTON: octet(x.DestTON), DestNPI: octet(x.DestNPI),
		Window: x.Window, TPS: x.TPS, ResponseTimeout: time.Duration(x.ResponseTimeout), EnquireLink: time.Duration(x.EnquireLink),
		Alphabet: sms.Encoding(x.Alphabet), HexIDs: x.HexIDs, SniffReceipts: x.SniffReceipts, QuerySM: x.QuerySM, CancelSM: x.CancelSM}
	for i := range x.TLVs {
		t := &x.TLVs[i]
		tag, _ := t.tag()      // Check has looked
		value, _ := t.octets() // at both
		s.TLVs = append(s.TLVs, client.TLV{Tag: tag, Value: value, Programs: t.Programs})
	}
	for _, name := range x.RetryStatuses {
		status, _ := client.ParseStatus(name)
		s.RetryStatuses = append(s.RetryStatuses, status)
	}
	return s
}

// octet is a value that may be left out.
func octet(v *int) *byte {
	if v == nil {
		return nil
	}
	b := byte(*v)
	return &b
}

// SendersIn are the senders that the carrier asks for, by country.
func (x *Carrier) SendersIn() map[string][]sms.Sender {
	if len(x.Senders) == 0 {
		return nil
	}
	out := map[string][]sms.Sender{}
	for _, s := range x.Senders {
		for _, id := range s.Senders {
			out[s.Country] = append(out[s.Country], sms.Sender(id))
		}
	}
	return out
}

// explain says in words how an account is bound.
func (x *Carrier) explain(w io.Writer) {
	how := "SMPP 3.4"
	if x.TLS {
		how += " in TLS"
	}
	rate := "no limit of parts a second"
	if x.TPS > 0 {
		rate = fmt.Sprintf("%g parts a second", x.TPS)
	}
	password := "no password"
	switch {
	case x.PasswordFile != "":
		password = "password from " + x.PasswordFile
	case x.password != "":
		password = "password from the environment"
	}
	binds := "1 transceiver"
	switch n := x.BindsPerNode; {
	case x.BindAs == bindApart:
		binds = fmt.Sprintf("%d transmitters and %d receivers", n, n)
		if n == 1 {
			binds = "1 transmitter and 1 receiver"
		}
	case n > 1:
		binds = fmt.Sprintf("%d transceivers", n)
	}
	fmt.Fprintf(w, "  %s: %s to %s as %s, %s\n", x.Account, how, strings.Join(append([]string{x.Addr}, x.Failover...), ", or else "), terminal.Plain(x.SystemID), password)
	fmt.Fprintf(w, "    %s; at most %d submits of each unanswered, %s; answers within %s; enquire_link after %s of silence\n", binds, x.Window, rate, x.ResponseTimeout, x.EnquireLink)
	extra := []string{"data_coding 0 is " + x.Alphabet}
	if x.HexIDs {
		extra = append(extra, "ids in hexadecimal in responses, in decimal in receipts")
	}
	if len(x.Countries) > 0 {
		extra = append(extra, "national numbers are those of "+strings.Join(x.Countries, ", "))
	}
	if x.SniffReceipts {
		extra = append(extra, "texts that look like receipts are treated as receipts")
	}
	if x.QuerySM {
		extra = append(extra, "query_sm is supported")
	}
	if x.CancelSM {
		extra = append(extra, "cancel_sm is supported")
	}
	fmt.Fprintf(w, "    %s\n", strings.Join(extra, "; "))
	for i := range x.TLVs {
		t := &x.TLVs[i]
		tag, _ := t.tag()
		fmt.Fprintf(w, "    submits of %s have %s (TLV 0x%04X)\n", or(t.Programs, "all programs"), t.Name, tag)
	}
	for _, s := range x.Senders {
		fmt.Fprintf(w, "    in %s it asks for the senders %s\n", s.Country, terminal.Listed(s.Senders))
	}
}

// notes are what is allowed in an account and likely to go wrong.
func (x *Carrier) notes() (out []string) {
	if n := len(x.password); n > standardPassword {
		out = append(out, fmt.Sprintf("the password of carrier %s has %d characters: SMPP 3.4 §5.2.2 says at most 8; it is sent as it is, and a carrier that follows the standard refuses it", x.Account, n))
	}
	return out
}
