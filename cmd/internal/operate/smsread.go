package operate

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/domain/words"
)

// SMSCmd looks at texts. It needs no node.
type SMSCmd struct {
	Read SMSReadCmd `cmd:"" help:"Show what the lists of words make of an inbound text, and why. Nothing is recorded, and no node is asked."`
}

// SMSReadCmd reads a text as an inbound message is read.
type SMSReadCmd struct {
	Text       string   `arg:"" help:"What the person wrote. With --data-coding: the octets, in hexadecimal."`
	Country    string   `help:"Country of the writer (ISO 3166-1, such as US). Some words count in some countries only." placeholder:"CC"`
	Sent       []string `help:"A text that was sent to the person before, so that a quote of it is known. May be given several times." sep:"none" placeholder:"TEXT"`
	Config     string   `help:"A configuration, whose own words count too." type:"existingfile" placeholder:"FILE"`
	Tenant     string   `help:"The tenant to which the person wrote. With --config, its words count too." placeholder:"NAME"`
	DataCoding string   `help:"The data_coding of the octets (SMPP 3.4 §5.2.19), such as 8 or 0xf1." placeholder:"N"`
}

// smsReading is what --json prints.
type smsReading struct {
	Text     string `json:"text"`
	Asks     string `json:"asks"`
	Match    string `json:"match,omitempty"`
	Language string `json:"language,omitempty"`
	Why      string `json:"why"`
	Quoted   bool   `json:"quoted,omitempty"`
	Lists    string `json:"lists"`
	// Covered says whether a language that is widely spoken in the country has a list.
	Covered *bool `json:"covered,omitempty"`
}

// Run reads the text and says what it asks for.
func (c *SMSReadCmd) Run(g *terminal.Globals) error {
	texts, damaged, err := c.texts()
	if err != nil {
		return err
	}
	country := strings.ToUpper(c.Country)
	if country != "" && (len(country) != 2 || strings.Trim(country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
		return terminal.UsageError("--country %s: a country has two letters, such as US", terminal.Plain(c.Country))
	}
	lists := words.Standard()
	if c.Config != "" {
		cfg, err := config.Load(c.Config)
		if err != nil {
			return err
		}
		if lists, err = config.WordLists(cfg); err != nil {
			return err
		}
	}
	text, r := "", words.Reading{Why: "There is no text."}
	for i, t := range texts { // a reading that stops counts before one that may, as for inbound messages
		x := lists.Read(t, words.Context{Country: country, Tenants: []string{c.Tenant}, Sent: c.Sent})
		if i == 0 || x.Kind == words.Stop && r.Kind != words.Stop || x.Kind == words.Unclear && r.Kind != words.Stop && r.Kind != words.Unclear {
			text, r = t, x
		}
	}
	if damaged && r.Kind != words.Stop && r.Kind != words.Unclear {
		r = words.Reading{Kind: words.Unclear, Why: "The octets, or some of them, can be read as no text: an officer has to look at them."}
	}
	out := smsReading{Text: text, Asks: r.Kind.String(), Match: r.Match, Language: r.Language, Why: r.Why, Quoted: r.Quoted, Lists: lists.Version()}
	if country != "" {
		covered := lists.Covers(country)
		out.Covered = &covered
	}
	if g.JSON {
		return g.PrintValue(out)
	}
	rows := terminal.NewRows(g.Stdout)
	rows.Row("text", "%s", terminal.Plain(text))
	rows.Row("asks", "%s", out.Asks)
	rows.Row("why", "%s", out.Why)
	if i := slices.IndexFunc(lists.Languages(), func(l words.Language) bool { return l.Code == r.Language }); i >= 0 {
		rows.Row("language", "%s", lists.Languages()[i].Name)
	}
	if r.Quoted {
		rows.Row("quoted", "%s", "The words may be a quote. With the texts that were sent before (--sent), a quote is known.")
	}
	if out.Covered != nil && !*out.Covered {
		rows.Row("country", "%s", "No language that is widely spoken in "+country+" has a list.")
	}
	rows.Row("lists", "%s", out.Lists)
	return nil
}

// texts are what the person may have written, the most likely first. damaged says that octets could not
// be read.
func (c *SMSReadCmd) texts() (texts []string, damaged bool, err error) {
	if c.DataCoding == "" {
		return []string{c.Text}, false, nil
	}
	n, err := strconv.ParseUint(c.DataCoding, 0, 8)
	if err != nil {
		return nil, false, terminal.UsageError("--data-coding %s: it is a number from 0 to 255", terminal.Plain(c.DataCoding))
	}
	octets, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "").Replace(c.Text))
	if err != nil {
		return nil, false, terminal.UsageError("with --data-coding, the text is octets in hexadecimal, such as 53544f50")
	}
	r := sms.ReadOctets(byte(n), octets, false, sms.GSM7)
	return r.Texts, r.Damaged, nil
}
