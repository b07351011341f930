package sms

import (
	"strings"
	"testing"
	"unicode"
)

var askTexts = []struct {
	kind  AskKind
	texts []string
}{
	// Keywords: every word of the FCC's, Twilio's, Telnyx's, Vonage's and AWS's lists,
	// as people type them.
	{AskStop, []string{
		"STOP", "stop", "Stop.", "STOP!!!", "  stop  ", "\"STOP\"", "“Stop”", "'stop'", "(stop)", "stop\n", "\tSTOP\r\n", "-stop-", "#STOP", "*stop*",
		"ＳＴＯＰ", "ｓｔｏｐ！", "\u200bSTOP\u200b", "ST\u200dOP", "\ufeffSTOP", "ST\u00adOP", "\u202eSTOP", "STOP\ufe0f", "S T O P", "s.t.o.p.", "STOPPP", "stooop", "St0p",
		"STOP 👍", "stop 🛑", "stop stop stop", "Stop please", "please stop", "PLS STOP", "stop thank you", "Ok stop", "hi, stop please, thanks", "stop it", "Stop now", "stop end quit",
		"STOPALL", "STOP ALL", "stop-all", "UNSUBSCRIBE", "unsubscribe please", "END", "end.", "QUIT", "CANCEL", "Cancel!", "REVOKE", "OPTOUT", "OPT OUT", "opt-out", "Opt Out please", "REMOVE", "remove me", "TD",
		"ARRET", "ARRÊT", "arrêt", "arre\u0302t", "PARE", "pare!", "Parar", "BAJA", "alto", "cancelar", "Stopp", "Abmelden", "SAIR", "désabonner", "no more", "Unsub",
		"STOP\nSent from my phone", "STOP 36123", "STOP au 36123", "can u pls stop", "Could you please stop?", "stop2end", "Stop\u00a0",
	}},
	// Phrases, English.
	{AskStop, []string{
		"please stop texting me", "I want to stop receiving these", "please cease all contact", "stop promo", "Stop texting me!", "Can you stop messaging this number", "STOP CONTACTING ME", "quit texting me", "stop sending me texts", "please stop sending me these messages",
		"stop the texts", "Stop all messages", "please stop these texts", "stop your spam", "take me off your list", "Take me off of your list please", "Please take my number off your list", "remove me from your list", "remove my number",
		"Please remove this number from your system", "delete my number", "lose my number", "take me off the mailing list",
		"do not text me again", "Do not text me", "don't text me", "Don’t text me anymore", "dont contact me again", "do not contact this number", "don't send me any more texts", "never text me again", "do not message me", "Dont send anymore",
		"no more messages", "No more texts please", "no more texts!!!", "wrong number", "Sorry, wrong number", "you have the wrong number", "Wrong person",
		"who is this? stop", "Who is this? STOP", "who is this stop", "No, stop.", "I said stop", "STOP. I never signed up for this", "Stop, wrong person",
		"I want to unsubscribe", "how do I unsubscribe?", "unsubscribe me from this", "I'd like to opt out", "opt me out", "Please opt me out of these texts", "I am opting out", "I want to be removed", "I wish to be removed from this list",
		"I don't want to receive these texts", "i do not want your messages", "I no longer wish to receive messages", "I don't want any more texts", "leave me alone", "LEAVE ME ALONE!!", "I revoke my consent", "I withdraw consent", "revoke consent",
		"cancel my subscription", "Cancel all texts", "end these texts", "turn off notifications", "this is no longer his number", "make it stop", "I need these texts to stop", "told you to stop", "do not disturb",
		"Why do you keep bothering me? Stop texting", "please\nstop texting me", "please stop\ntexting me", "do not text\nme again", "take me, off your list",
	}},
	// Phrases, the other languages.
	{AskStop, []string{
		"no me envíen más mensajes", "No me escriban más", "por favor no me manden mas", "deje de enviarme mensajes", "dejen de molestarme", "quiero darme de baja", "Dame de baja", "número equivocado", "no quiero recibir más mensajes", "no más mensajes", "cancelar mi suscripción", "quítenme de la lista", "borren mi número",
		"arrêtez de m'envoyer des SMS", "Arrêtez les SMS", "ne m'envoyez plus de messages", "ne me contactez plus", "je ne veux plus recevoir de SMS", "désabonnez-moi", "mauvais numéro", "plus de messages svp", "laissez-moi tranquille", "je souhaite me désinscrire",
		"keine SMS mehr", "Bitte keine Nachrichten mehr", "schreiben Sie mir nicht mehr", "bitte nicht mehr schreiben", "Hören Sie auf", "melden Sie mich ab", "löschen Sie meine Nummer", "Loeschen Sie meine Nummer", "falsche Nummer", "lassen Sie mich in Ruhe", "ich widerrufe meine Einwilligung",
		"não me mande mais mensagens", "nao envie mais", "pare de enviar mensagens", "parem de me mandar SMS", "não quero receber mensagens", "número errado", "me remova", "me tire da lista", "chega de mensagens", "cancelar inscrição",
	}},
	{AskUnclear, []string{
		"don't stop", "Please don't stop!", "stop by the store at 5", "cancel my appointment", "Can't come. Cancel.", "I need to cancel", "please don't stop texting me", "I can't stop texting you", "never stop texting me", "no stop", "yes stop",
		"how do I stop this from happening again", "quit playing", "I quit my job", "remove the blue one from my order", "don't unsubscribe me", "not interested", "this is spam", "Is this a scam?", "go away", "this is harassment", "I will report you", "fuck off",
		"I never signed up for this", "where did you get my number", "he no longer works here", "Stop Sent from my phone", "start stop", "help stop", "stop help me", "reply STOP to end", "🛑", "🚫🚫", "wait 🛑", "start 🛑", "don't call me", "no quiero", "annuler... arrêter ?", "kein Interesse", "do not text and drive",
		"I never opted out", "STOP 5", "STOP to work", "Bitte nicht stoppen", "no estoy interesado", "Should I stop taking the medication?", "end my shift at 5", "can you stop them", "pare no mercado",
	}},
	{AskStart, []string{"START", "start", "Start!", " start ", "UNSTOP", "unstop.", "JOIN", "ＳＴＡＲＴ", "\u200bStart"}},
	{AskYes, []string{"YES", "yes", "Yes!", "\"yes\""}},
	{AskHelp, []string{"HELP", "help", "Help?", "INFO", "info", "Ayuda", "AIDE", "Hilfe", "ajuda"}},
	{AskNone, []string{
		"", " ", "?", "👍", "ok", "Thanks!", "thank you", "no", "N", "y", "yes please", "Yes I will come", "hello", "who is this?", "see you at 5", "starting now", "start my order", "I started", "help me", "can you help", "I got no texts today", "drop me off at the airport", "I don't want to be late", "text me again", "Thanks, stopwatch works", "join us", "information",
		"at the end of the day", "is this the end?", "see you at the end of the month", "by the end", "have a nice weekend", "at the bus stop", "the train stops here: bus stop", "we ended up at home", "it is a non-stop flight", "check your spam folder", "good enough", "1", "C", "12345", "bonjour", "¿quién es?", "guten Tag", "bom dia", "baja la música", "en alto", "am Ende des Tages", "я", "unstoppable", "stopwatch", "endless",
	}},
}

func TestParseAsk(t *testing.T) {
	n := 0
	for _, c := range askTexts {
		for _, text := range c.texts {
			n++
			a := ParseAsk(text)
			if a.Kind != c.kind {
				t.Errorf("%q is %s (%q), want %s", text, a.Kind, a.Match, c.kind)
			}
			if (a.Match == "") != (a.Kind == AskNone) {
				t.Errorf("%q: %s matched %q", text, a.Kind, a.Match)
			}
			checkAsk(t, text)
		}
	}
	if n < 120 {
		t.Errorf("only %d texts", n)
	}
}

// checkAsk holds what must be so for every text.
func checkAsk(t *testing.T, text string) {
	a := ParseAsk(text)
	spaced := strings.NewReplacer(" ", " \t \u00a0")
	for what, other := range map[string]string{
		"upper case":  strings.Map(unicode.ToUpper, text),
		"lower case":  strings.Map(unicode.ToLower, text),
		"space round": "  " + text + " \n",
		"more space":  spaced.Replace(text),
		"quotes":      "\"" + text + "\"",
		"invisible":   "\u200b" + text + "\u2060",
	} {
		if b := ParseAsk(other); b != a {
			t.Errorf("%q is %v, with %s %v", text, a, what, b)
		}
	}
	if a.Match != "" && !listed(a.Match) {
		t.Errorf("%q matched %q, which is in no list", text, a.Match)
	}
}

func listed(m string) bool {
	if _, ok := otherKeywords[m]; ok || stopKeywords[m] || stopClauses[m] || m == "stop sign" {
		return true
	}
	for _, lists := range []index{stopPhrases(), doubtful()} {
		for _, p := range lists[strings.Fields(m)[0]] {
			if strings.Join(p, " ") == m {
				return true
			}
		}
	}
	return false
}

// Every entry is written as fold leaves a text, else it could never match; and what a
// list promises is what ParseAsk answers.
func TestWordLists(t *testing.T) {
	folds := func(entry string) {
		if got := strings.Join(fold(entry).words, " "); got != entry {
			t.Errorf("%q folds to %q", entry, got)
		}
	}
	for k := range stopKeywords {
		folds(k)
		if a := ParseAsk(strings.ToUpper(k)); a != (Ask{AskStop, k}) {
			t.Errorf("%q: %v", k, a)
		}
	}
	for k, kind := range otherKeywords {
		folds(k)
		if a := ParseAsk(k); a != (Ask{kind, k}) {
			t.Errorf("%q: %v", k, a)
		}
	}
	for k := range stopClauses {
		folds(k)
		if a := ParseAsk("Who is this? " + k); a.Kind != AskStop {
			t.Errorf("clause %q: %v", k, a)
		}
	}
	for k := range negations {
		folds(k)
	}
	for _, c := range courtesies {
		folds(strings.Join(c, " "))
	}
	for name, list := range map[string]index{"stop": stopPhrases(), "doubtful": doubtful(), "harmless": harmless()} {
		for _, ps := range list {
			for _, p := range ps {
				phrase := strings.Join(p, " ")
				if strings.ContainsAny(phrase, "{}|") {
					t.Errorf("%q was not written out", phrase)
				}
				folds(phrase)
				kind := ParseAsk("abc " + phrase + " xyz").Kind
				if name == "stop" && kind != AskStop || name == "doubtful" && kind != AskUnclear && kind != AskStop || name == "harmless" && kind != AskNone {
					t.Errorf("%s phrase %q: %s", name, phrase, kind)
				}
			}
		}
	}
}

func TestParseAskLongText(t *testing.T) {
	if a := ParseAsk(strings.Repeat("see you at five ", 90) + "please stop texting me"); a.Kind != AskStop {
		t.Errorf("at the end of a long text: %v", a)
	}
	ParseAsk(strings.Repeat("do not ", 1<<16))
}

func FuzzParseAsk(f *testing.F) {
	for _, c := range askTexts {
		for _, text := range c.texts {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) { checkAsk(t, text) })
}

func BenchmarkParseAsk(b *testing.B) {
	for name, text := range map[string]string{
		"keyword": "STOP", "phrase": "Hi, can you please take me off your list, thanks", "none": "Thanks, see you tomorrow at five then!",
		"long": strings.Repeat("see you at five then, thanks. ", 50),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = ParseAsk(text)
			}
		})
	}
}
