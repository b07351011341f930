package sms

import (
	"strings"
	"sync"
)

// The lists below have the form that fold gives a text: lower case, without accents, apostrophes
// and punctuation.

// stopKeywords revoke if they are the whole text. The first line is what the FCC names (47 CFR
// 64.1200(a)(10)), the second what Twilio, Telnyx, Vonage and AWS also act on. The others are
// similar words in five languages.
var stopKeywords = set(
	"stop, quit, end, revoke, opt out, cancel, unsubscribe",
	"stopall, stop all, optout, remove, td, arret, pare",
	"stopp, stop it, stop now, stop this, stop that, stop everything, unsub, unsubscribed, unsubscribe all, opt me out, no more, cease, desist, cease and desist, cancel all, end all, remove me, take me off, i want to stop, want to stop, stop texting, stop messaging, stop sending, stop2end, st0p, enough",
	"alto, baja, basta, cancelar, parar, detener, detente, dar de baja, darse de baja, no mas, salir, desuscribir, desuscribirme, anular, eliminar, remover",
	"arreter, arretez, arretez vous, desabonner, desabonnement, desinscrire, desinscription, desinscrivez, resilier, fin, plus rien",
	"abmelden, abbestellen, austragen, ende, beenden, aufhoren, aufhoeren, kundigen, kuendigen, widerruf, widerrufen, schluss",
	"parem, sair, descadastrar, descadastro, encerrar, chega",
)

// otherKeywords are words that Twilio and Vonage act on, and HELP in the same languages. They too
// must be the whole text.
var otherKeywords = map[string]AskKind{
	"start": AskStart, "unstop": AskStart, "join": AskStart,
	"yes":  AskYes,
	"help": AskHelp, "info": AskHelp, "ayuda": AskHelp, "aide": AskHelp, "hilfe": AskHelp, "ajuda": AskHelp,
}

// stopClauses revoke if they are a sentence or a line of their own ("Who is this? STOP").
// "Cancel." is not among them: after another sentence it may be about anything.
var stopClauses = set(
	"stop, stopall, stop all, stop it, stopp, unsubscribe, unsub, opt out, optout, opt me out, remove me, take me off, no more, enough, arret, pare, revoke, stop now, stop texting, leave me alone, quit it, can you stop, can u stop, could you stop, will you stop, would you stop, make it stop, i want out, stoptexting",
	"arretez, desabonner, arret pub, stop pub, keine werbung, loschen, loeschen, abmelden, abbestellen, basta, parem, descadastrar",
)

// courtesies change nothing about what is asked. "Yes" and "no" are not among them.
var courtesies = phrases(
	"please, pls, plz, plse, kindly, just, now, immediately, right now, at once, already, thanks, thank you, thx, ty, ok, okay, hi, hello, hey, dear, sir, madam, sorry, the word, i said, i say, lol, asap, today",
	"por favor, porfavor, gracias, muchas gracias, hola, ya, s il vous plait, sil vous plait, svp, stp, merci, bonjour, bitte, danke, hallo, obrigado, obrigada, ola, pf, pfv",
)

// negations make a phrase that revokes unclear, if they come within the three words before it.
var negations = set(
	"dont, not, never, no, cant, cannot, wont, didnt, doesnt, isnt, wasnt, shouldnt, without, unless, if, until",
	"nunca, jamas, sin, ne, pas, jamais, sans, nicht, nie, kein, keine, ohne, nao, sem",
)

// stopPhrases revoke anywhere in a text, unless they are negated. {a|b} means a or b; an empty
// choice means that it may be left out.
var stopPhrases = sync.OnceValue(func() index {
	return newIndex(
		// English: stop what.
		"{stop|quit|cease} {texting|messaging|contacting|bothering|harassing|spamming|pestering|smsing|msging|txting|emailing}",
		"{stop|quit|cease} {calling|writing|sending} {me|us|to me|this number|this phone|my number|my phone|these|those|texts|messages|sms|anything|stuff|them}",
		"stop {the|these|those|all|all the|all these|your|any|any more|any further|further|more|this|} {texts|text|text messages|messages|message|msgs|msg|sms|smses|txts|spam|notifications|alerts|txt|promotions|promos|promo|offers|ads|communication|communications|contact|calls|marketing|service|subscription}",
		"stop {receiving|getting}", "{stop|quit|cease} {all contact|all communication|all communications|contact}",
		"stop all of {it|this|these|them}",
		"{make|have} {it|them|this|these} stop",
		"{want|need|like|wish} {this|these|them|it|you|the texts|the messages|these texts|these messages|the calls|your texts|your messages} to stop",
		"{texts|messages|these|this} {must|need to|needs to|have to|has to|should} stop",
		"stop who is this", "who is this stop", "who are you stop", "who dis stop", "stop stop", "stop or i will", "stop or ill", "stop means stop", "said stop", "told you to stop", "asked you to stop", "asking you to stop",
		// English: do not.
		"never {text|message|contact|msg|txt|sms|bother|write|write to|harass|spam|disturb} {me|us|this number} {again|anymore|any more|ever again}",
		"{do not|dont|to not|not to|no longer} {text|message|contact|msg|txt|sms|bother|write|write to|harass|spam|disturb} {me|us|this number|this phone|my phone|my number|here|again|anymore|any more|any longer|ever}",
		"{do not|dont|never} {call|ring} {me|us|this number} {again|anymore|any more|ever|ever again|or text}",
		"{do not|dont|never} send {anymore|any|any more|me any|me anything|me any more|more|me more|messages|me messages|texts|me texts|text messages|me text messages|sms|me sms|anything|me these|these|me this|me stuff|me spam}",
		"{do not|dont} contact", "do not disturb",
		"{no|zero} more {messages|message|texts|text|text messages|texting|messaging|sms|msgs|txts|spam|alerts|notifications|calls|contact|promotions|promos|ads|offers|of these|of this|from you}",
		"no {texts|messages|sms|spam|marketing|ads} {anymore|any more}",
		"{do not|dont|did not|didnt|never} want {to receive|to get texts|to get messages|to get these|to get any|to get your|to be contacted|to be texted|to be messaged|to be on|to hear from|any texts|any messages|any more texts|any more messages|any of these|more texts|more messages|your texts|your messages|your sms|these texts|these messages|these anymore|these any more|this anymore|texts|messages|text messages|sms|you to text|you to contact|you to message|this service}",
		"{do not|dont} {wish|care} to {receive|get|be contacted|be texted|hear from}",
		"{do not|dont} like {getting|receiving} {these|texts|messages}",
		"no longer {want|wish} {to receive|to get|to be contacted|to be texted|to be on|to hear from|these|this|texts|messages|your texts|your messages}",
		"i no longer consent", "{do not|dont} consent", "{revoke|withdraw|rescind|retract} {my|all|any|} {consent|permission|authorization|authorisation}", "{revoking|withdrawing} {my|all|} {consent|permission}", "i revoke",
		// English: lists and numbers.
		"{take|get|strike|scratch|keep} {me|us|my number|my phone number|my phone|my name|my cell|this number|this phone number|this phone|our number} off {your|this|of your|of this|any|all|these}", "{take|get|strike|scratch} {me|us|my number|my phone number|my phone|my name|my cell|this number|this phone number|this phone|our number} off {the|that|of the} {list|lists|texting list|text list|mailing list|call list|contact list|sms list|system|database}",
		"{take|get|strike|scratch} {my number|my phone number|my phone|my name|my cell|this number|this phone number|this phone|our number} off", "{take|get} {me|us} out of {your|this} {list|system|database}",
		"{remove|delete|erase} {me|us|my number|my phone number|my phone|my name|my cell|this number|this phone number|this phone|our number|my contact|my info|my information|my details}", "{lose|forget|drop|block} {my number|my phone number|this number|this phone number|our number}",
		"take off {my|this} {number|name|phone number}", "off your {list|lists|mailing list|texting list|text list}", "{want|like|wish|ask|asking|asked} {to be|} {removed|taken off|unsubscribed}", "{want|get} off {your|this|the} list", "want out of this",
		"unsubscribe", "unsubscribe me", "unsuscribe", "unsubcribe", "unsubscibe", "unscribe", "stopall", "optout",
		"{opt|opting|opted} {out|me out|us out}", "cancel {my|this|the|all|these|your|} {subscription|subscriptions|texts|text|text messages|messages|message|sms|alerts|notifications|texting|text service|messaging|enrollment|enrolment}",
		"{end|terminate|discontinue|turn off|disable|halt|cut off|shut off|suspend|deactivate} {my|this|the|all|these|your|} {subscription|subscriptions|texts|text messages|messages|sms|alerts|notifications|texting|communication|communications}",
		"leave {me|us} {alone|be}",
		"wrong {number|person|phone|phone number|guy}", "{not|isnt|no longer} {the right number|the right person|his number|her number|this persons number}",
		"no longer {his|her|their} number",
		// Spanish.
		"no me {envies|envie|envien|mandes|mande|manden|escribas|escriba|escriban|contactes|contacte|contacten|molestes|moleste|molesten|textees|texteen|llamen|llames} {mas|}",
		"no {envies|envie|envien|mandes|mande|manden|escriban|escribas} mas", "no {molestar|molesten|molestes|moleste}",
		"{deja|deje|dejen|dejad|paren|para|pare|parar|dejar} de {enviar|enviarme|enviarnos|mandar|mandarme|escribir|escribirme|molestar|molestarme|contactarme|contactar|textear|textearme|recibir|acosarme|acosar|llamarme}",
		"no {quiero|deseo|queremos|deseamos} {recibir|mas mensajes|mas textos|mas sms|sus mensajes|tus mensajes|estos mensajes|mensajes|que me escriban|que me contacten|que me envien|que me manden}", "{darme|dame|deme|denme|darnos|dar|darse} de baja", "{quiero|solicito|pido|deseo} {la|mi|una|} baja",
		"{quita|quite|quiten|quitame|quiteme|quitenme|saca|sacame|saqueme|saquenme|borra|borrame|borreme|borrenme|elimina|eliminame|elimineme|eliminenme} {de la lista|de su lista|de tu lista|de esta lista|de sus listas|mi numero}", "{borrar|eliminar|borren|eliminen|borre|elimine|remueva|remuevan} mi {numero|telefono|nombre}",
		"numero {equivocado|incorrecto|erroneo}", "no mas {mensajes|textos|sms|mensajes de texto|publicidad}", "basta de {mensajes|textos|sms|publicidad}", "alto {mensajes|a los mensajes|los mensajes}", "{cancela|cancelar|cancele|cancelen} {mi|la|} {suscripcion|subscripcion|mensajes|los mensajes}",
		// French.
		"{arrete|arretez|arreter|cessez|cesser} {de menvoyer|de m envoyer|de menvoyer|de me contacter|de mecrire|de m ecrire|de me harceler|denvoyer|d envoyer|de me deranger|les sms|les messages|vos sms|vos messages|ces sms|ces messages|les textos|la pub|les pubs}",
		"ne {menvoyez|m envoyez|menvoie|mecrivez|m ecrivez|me contactez|me contacte|me derangez|me textez|m envoie} plus", "ne {veux|souhaite|desire} {plus|pas} {recevoir|de|vos|ces|etre}", "ne plus {recevoir|etre contacte|etre contactee}", "plus recevoir {de|vos|ces|aucun}", "plus de {sms|messages|textos|pub|publicite}", "ne veux plus",
		"{desabonnez|desinscrivez|retirez|enlevez|supprimez|rayez|desabonne|desinscris} {moi|nous|mon numero|mon nom}", "me {desabonner|desinscrire|retirer de}", "{mauvais|faux} numero", "{laissez|laisse} {moi|nous} tranquille", "{erreur de|pas le bon} numero", "{retirer|supprimer} mon {numero|consentement}",
		// German.
		"keine {sms|nachrichten|werbung|texte|mitteilungen|werbe sms|werbesms} mehr", "keine weiteren {sms|nachrichten|mitteilungen|texte}", "nicht mehr {schreiben|anschreiben|kontaktieren|senden|schicken|zusenden|zuschicken|anrufen|belastigen|belaestigen|erhalten|bekommen}", "{schreiben|schreib|schreibt|kontaktieren|kontaktiere|schicken|schick|senden|sende} {sie|} {mir|mich} {nicht|nichts|keine}",
		"{hor|hoer|horen|hoeren|hort|hoert} {sie|} {damit|mit|} auf", "{hor|hoer|horen|hoeren|hort|hoert} {sie|} auf", "{melden|melde|meldet} {sie|} mich ab", "{tragen|trage|tragt} {sie|} mich aus", "mich {abmelden|austragen|loschen|loeschen}", "{loschen|loeschen|losche|loesche|entfernen|entferne|streichen} {sie|} {mich|meine nummer|meine daten}", "meine nummer {loschen|loeschen|entfernen|streichen}", "falsche nummer", "{lass|lassen|lasst} {sie|} {mich|uns} in ruhe", "{ich widerrufe|widerrufe meine|widerruf meiner}", "von der liste {nehmen|streichen|entfernen}", "von ihrer liste", "newsletter abbestellen",
		// Portuguese.
		"nao {me|} {envie|enviem|envia|mande|mandem|manda|escreva|escrevam|contate|contatem|contacte|contactem|perturbe|perturbem} mais", "nao me {envie|enviem|mande|mandem|manda|escreva|escrevam|contate|contatem|contacte|contactem|perturbe|perturbem|incomode|incomodem}",
		"{pare|parem|para|parar} de {enviar|mandar|me enviar|me mandar|me perturbar|me incomodar|mandar mensagem|enviar mensagem|escrever|me contatar|me contactar}", "nao {quero|desejo|queremos} {mais|} {receber|mensagens|suas mensagens|essas mensagens|estas mensagens|mais mensagens|que me mandem|que me enviem}", "{me tire|me tira|me retire|me tirem|tire me|retire me} {da|dessa|desta|de sua|da sua} lista", "{me remova|me remove|me removam|remova me|me descadastre|me descadastra|me exclua|me excluam}", "{remova|remover|removam|tire|tirem|retire|apague|apaguem|exclua|excluam|excluir|apagar} {o|} meu {numero|telefone|contato|contacto|nome}", "numero errado", "chega de {mensagens|mensagem|sms|spam}", "{cancelar|cancele|cancela|cancelem} {a|minha|as|} {inscricao|assinatura|mensagens|subscricao}", "sem mais mensagens",
	)
})

// doubtful has words that may revoke, anywhere in a longer text.
var doubtful = sync.OnceValue(func() index {
	return newIndex(
		"{stop|stops|stopped|stopping|stopp|stopall|quit|quitting|end|ends|ending|cancel|cancels|cancelled|canceled|canceling|cancelling|cancellation|revoke|revoked|optout|remove|removed|unsubscribed|unsubscribing|unsub|cease|desist|discontinue|terminate}",
		"opt out", "opted out", "sto p", "spam", "spammer", "spammers", "spamming", "scam", "harass", "harassing", "harassment", "tcpa", "fcc", "do not call", "dont call me", "dont call", "do not text", "dont text", "do not message", "dont message", "do not email", "not interested", "no thanks dont", "go away", "{fuck|piss|f|screw|bugger|eff} off", "fuck you", "enough already", "thats enough", "enough of {this|these|your}", "no more", "get lost", "{dont|do not} want {this|these|it}", "{dont|do not} write", "shut up", "{report|reporting|reported} you", "my lawyer", "my attorney", "sue you",
		"never {signed up|subscribed|asked for|agreed|consented|opted in|gave}", "{did not|didnt} {sign up|subscribe|ask for|agree|consent|opt in|give}", "{how|where} did you get {my|this} number", "{is|are} deceased", "{passed away|has died}", "no longer {works here|interested|lives here|at this number|a customer}", "not {his|her|their} {number|phone}", "{take|get} me {off|out}", "leave alone", "unwanted", "unsolicited",
		"{arret|arreter|arretez|arrete|arretes|desabonner|desabonnement|desinscrire|desinscription|resilier|assez|basta}", "{pare|parem|parar|parad|paren|detener|cancelar|cancela|cancele|descadastrar|descadastro|desuscribir|acoso|assedio}", "{abmelden|abbestellen|austragen|widerruf|widerrufen|widerrufe|aufhoren|aufhoeren|kundigen|kuendigen|belastigung|belaestigung|abmahnung|dsgvo}", "kein interesse", "no me interesa", "no estoy interesado", "no estoy interesada", "kein bedarf", "keine werbung", "will das nicht", "stoppen", "{stoptexting|stopmessaging|blocked|blocking}", "block {you|this number}", "pas interesse", "pas interessee", "nao tenho interesse", "no quiero", "nao quero",
	)
})

// harmless has phrases with a doubtful word that plainly mean something else.
var harmless = sync.OnceValue(func() index {
	return newIndex(
		"{the|at the|by the|in the|until the|till the|til the|to the|near the|towards the} end of", "{the|at the|by the|in the|until the|till the|til the} end", "end of {the|this|next|my|our} {day|week|month|year|quarter|line|june|july|term|semester|shift|road|street|hall|story}", "end of {day|week|month|year|may|june}", "{end|ends|ended|ending} up", "{week|year|month|dead|front|back|high|low|deep|book} end", "{bus|train|tram|metro|next|last|pit|truck|full} stop", "{bus|train|tram} stops", "non stop", "stop sign", "spam folder", "in my spam", "good enough", "soon enough", "fair enough", "early enough", "old enough", "enough time", "sure enough", "long enough", "big enough", "close enough",
	)
})

// set makes a set of entries that commas divide.
func set(lists ...string) map[string]bool {
	m := map[string]bool{}
	for _, l := range lists {
		for _, w := range strings.Split(l, ", ") {
			m[w] = true
		}
	}
	return m
}

// phrases makes a list of entries that commas divide, each as its words.
func phrases(lists ...string) [][]string {
	var out [][]string
	for _, l := range lists {
		for _, w := range strings.Split(l, ", ") {
			out = append(out, strings.Fields(w))
		}
	}
	return out
}

// index has phrases by their first word. It is made when it is first used, so that a program that
// reads no text does not wait for it.
type index map[string][][]string

// newIndex expands patterns into phrases. It takes words of courtesy out of them, as they are
// taken out of a text.
func newIndex(patterns ...string) index {
	m := index{}
	seen := map[string]bool{}
	for _, p := range patterns {
		for _, e := range expand(p) {
			w := courteous(strings.Fields(e))
			if k := strings.Join(w, " "); len(w) > 0 && !seen[k] {
				seen[k] = true
				m[w[0]] = append(m[w[0]], w)
			}
		}
	}
	return m
}

// expand returns the pattern with every choice between braces written out.
func expand(p string) []string {
	before, rest, ok := strings.Cut(p, "{")
	if !ok {
		return []string{p}
	}
	choices, after, _ := strings.Cut(rest, "}")
	var out []string
	for _, tail := range expand(after) {
		for _, c := range strings.Split(choices, "|") {
			out = append(out, before+c+tail)
		}
	}
	return out
}
