package words

import ("testing")

func BenchmarkLoad(b *testing.B) {
	for b.Loop() { if _, err := load(); err != nil { b.Fatal(err) } }
}
func BenchmarkRead(b *testing.B) {
	l := Standard()
	for name, text := range map[string]string{
		"keyword": "STOP", "phrase": "Hi, can you please take me off your list, thanks", "none": "Thanks, see you tomorrow at five then!", "arabic": "شكرا سأكون هناك في الساعة الخامسة",
	} {
		b.Run(name, func(b *testing.B) { b.ReportAllocs(); for b.Loop() { l.Read(text, Context{}) } })
	}
}
