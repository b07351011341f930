package words

import (
	"testing"
)

var askTexts = []struct {
	kind  Kind
	texts []string
}{
	// Keywords: every word of the FCC's, Twilio's, Telnyx's, Vonage's and AWS's lists,
	// as people type them.
	{Stop, []string{
		"STOP", "stop", "Stop.", "STOP!!!", "  stop  ", "\"STOP\"", "“Stop”", "'stop'", "(stop)", "stop\n", "\tSTOP\r\n", "-stop-", "#STOP", "*stop*",
		"ＳＴＯＰ", "ｓｔｏｐ！", "\u200bSTOP\u200b", "ST\u200dOP", "\ufeffSTOP", "ST\u00adOP", "\u202eSTOP", "STOP\ufe0f", "S T O P", "s.t.o.p.", "STOPPP", "stooop", "St0p",
		"STOP 👍", "stop 🛑", "🛑", "🛑🛑 please", "stop stop stop", "Stop please", "please stop", "PLS STOP", "stop thank you", "Ok stop", "hi, stop please, thanks", "stop it", "Stop now", "stop end quit",
		"STOPALL", "STOP ALL", "stop-all", "UNSUBSCRIBE", "unsubscribe please", "END", "end.", "QUIT", "CANCEL", "Cancel!", "REVOKE", "OPTOUT", "OPT OUT", "opt-out", "Opt Out please", "REMOVE", "remove me", "TD",
		"ARRET", "ARRÊT", "arrêt", "arre\u0302t", "PARE", "pare!", "Parar", "BAJA", "alto", "cancelar", "Stopp", "Abmelden", "SAIR", "désabonner", "no more", "Unsub",
		"STOP\nSent from my phone", "STOP 36123", "STOP au 36123", "can u pls stop", "Could you please stop?", "stop2end", "Stop\u00a0",
	}},
	// Phrases, English.
	{Stop, []string{
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
	{Stop, []string{
		"no me envíen más mensajes", "No me escriban más", "por favor no me manden mas", "deje de enviarme mensajes", "dejen de molestarme", "quiero darme de baja", "Dame de baja", "número equivocado", "no quiero recibir más mensajes", "no más mensajes", "cancelar mi suscripción", "quítenme de la lista", "borren mi número",
		"arrêtez de m'envoyer des SMS", "Arrêtez les SMS", "ne m'envoyez plus de messages", "ne me contactez plus", "je ne veux plus recevoir de SMS", "désabonnez-moi", "mauvais numéro", "plus de messages svp", "laissez-moi tranquille", "je souhaite me désinscrire",
		"keine SMS mehr", "Bitte keine Nachrichten mehr", "schreiben Sie mir nicht mehr", "bitte nicht mehr schreiben", "Hören Sie auf", "melden Sie mich ab", "löschen Sie meine Nummer", "Loeschen Sie meine Nummer", "falsche Nummer", "lassen Sie mich in Ruhe", "ich widerrufe meine Einwilligung",
		"não me mande mais mensagens", "nao envie mais", "pare de enviar mensagens", "parem de me mandar SMS", "não quero receber mensagens", "número errado", "me remova", "me tire da lista", "chega de mensagens", "cancelar inscrição",
	}},
	{Stop, []string{
		"no stop", "yes stop", "not interested", "this is spam", "go away", "fuck off", "he no longer works here", "Stop Sent from my phone", "no quiero", "annuler... arrêter ?", "kein Interesse", "no estoy interesado",
	}},
	{Unclear, []string{
		"Can't come. Cancel.", "I need to cancel", "how do I stop this from happening again", "this is harassment", "I will report you",
		"I never signed up for this", "where did you get my number", "start stop", "help stop", "stop help me", "reply STOP to end", "🚫🚫", "wait 🛑", "start 🛑", "don't call me",
		"I never opted out", "STOP 5", "can you stop them",
	}},
	{Start, []string{"START", "start", "Start!", " start ", "UNSTOP", "unstop.", "JOIN", "ＳＴＡＲＴ", "\u200bStart"}},
	{Yes, []string{"YES", "yes", "Yes!", "\"yes\""}},
	{Help, []string{"HELP", "help", "Help?", "INFO", "info", "Ayuda", "AIDE", "Hilfe", "ajuda"}},
	{None, []string{
		"don't stop", "Please don't stop!", "stop by the store at 5", "cancel my appointment", "please don't stop texting me", "I can't stop texting you", "never stop texting me", "quit playing", "I quit my job", "remove the blue one from my order", "don't unsubscribe me", "do not text and drive", "STOP to work", "Bitte nicht stoppen", "Should I stop taking the medication?", "end my shift at 5", "pare no mercado",
		"", " ", "?", "👍", "ok", "Thanks!", "thank you", "no", "N", "y", "yes please", "Yes I will come", "hello", "who is this?", "see you at 5", "starting now", "start my order", "I started", "help me", "can you help", "I got no texts today", "drop me off at the airport", "I don't want to be late", "text me again", "Thanks, stopwatch works", "join us", "information",
		"at the end of the day", "is this the end?", "see you at the end of the month", "by the end", "have a nice weekend", "at the bus stop", "the train stops here: bus stop", "we ended up at home", "it is a non-stop flight", "check your spam folder", "good enough", "1", "C", "12345", "bonjour", "¿quién es?", "guten Tag", "bom dia", "baja la música", "en alto", "am Ende des Tages", "я", "unstoppable", "stopwatch", "endless",
	}},
}

func TestRead(t *testing.T) {
	for _, c := range askTexts {
		for _, text := range c.texts {
			a := Standard().Read(text, Context{})
			if a.Kind != c.kind {
				t.Errorf("%q is %s (%q %s), want %s", text, a.Kind, a.Match, a.Language, c.kind)
			}
			if (a.Match == "") != (a.Kind == None) {
				t.Errorf("%q: %s matched %q", text, a.Kind, a.Match)
			}
		}
	}
}
