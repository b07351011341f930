package config

import (
	"fmt"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/words"
)

// Word is an operator's own word for inbound texts: see words.Addition.
type Word struct {
	Tenant  string `yaml:"tenant" otherwise:"every tenant" doc:"The tenant whose inbound texts it counts for."`
	Country string `yaml:"country" otherwise:"every country" doc:"The country in whose numbers' texts alone it counts (ISO 3166-1 alpha-2)."`
	Asks    string `yaml:"asks" doc:"What it asks for: stop, unclear (an officer reads it), start or help. Required."`
	Text    string `yaml:"text" doc:"The word or phrase, at most 8 words and 160 bytes. It matches in any case, with or without accents, as the whole text; one that stops, as a sentence of its own too. Required."`
}

var asks = map[string]words.Kind{"stop": words.Stop, "unclear": words.Unclear, "start": words.Start, "help": words.Help}

// WordLists are the built-in word lists with the words of the configuration.
func WordLists(c *Config) (*words.Lists, error) {
	var add []words.Addition
	for _, w := range c.Words {
		add = append(add, words.Addition{Tenant: w.Tenant, Country: w.Country, Kind: asks[w.Asks], Text: w.Text})
	}
	if len(add) == 0 {
		return words.Standard(), nil
	}
	return words.Standard().With(add)
}

// words checks the words of the configuration.
func (k *checker) words() {
	before := len(k.out)
	for i, w := range k.c.Words {
		path := fmt.Sprintf("words[%d]", i)
		if w.Tenant != "" {
			k.tenant(path+".tenant", w.Tenant)
		}
		if _, ok := asks[w.Asks]; !ok {
			k.bad(path+".asks", "it must be stop, unclear, start or help")
		}
		if wrong := control.WrongCountry(w.Country); w.Country != "" && wrong != "" {
			k.bad(path+".country", "%s", wrong)
		}
		if w.Text == "" {
			k.bad(path+".text", "it is missing: write the word or phrase")
		}
	}
	if len(k.out) > before {
		return
	}
	if _, err := WordLists(k.c); err != nil {
		k.bad("words", "%s", err)
	}
}
