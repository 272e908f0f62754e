"""What `torture_text` builds its texts from."""

# ruff: noqa: RUF001

WORDS = [
    "a", "I", "the", "Hello", "WORLD", "camelCase", "snake_case", "isn", "naïve", "Straße",
    "ÉCOLE", "привет", "ПриветМир", "你好", "こんにちは", "안녕", "שלום", "سلام", "नमस्ते", "สวัสดี",
    "x86", "3D", "e", "İstanbul", "ǅ", "ﬁ", "Ⅷ", "№", "µ", "K",
]  # fmt: skip

PHRASES = [
    "The quick brown fox jumps over the lazy dog.",
    "Don't you think it's what we've said they'd do? I'll SEE; y'all'd'VE.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Voix ambiguë d’un cœur qui, au zéphyr, préfère les jattes de kiwis.",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío; ¿añoraba?",
    "Luís argüia à Júlia que «brações, fé, chá, óxido, pôr, zângão» eram palavras.",
    "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Egy hűtlen vejét fülöncsípő, dühös mexikói úr Wesselényinél mázol Quitóban.",
    "Pijamalı hasta yağız şoföre çabucak güvendi. IĞDIR ığdır",
    "Albert osti fagotin ja töräytti puhkuvan melodian.",
    "Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa.",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "Чуєш їх, доцю, га? Кумедна ж ти, прощайся без ґольфів!",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "Խոսքը տեղին ասած՝ ոսկի է։",
    "ვეპხის ტყაოსანი შოთა რუსთაველი",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה איך הקליטה?",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر.",
    "ای که پنجاه رفت و در خوابی؛ مگر این پنج روزه دریابی",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश।",
    "বর্ষামুখর দিন শেষে ঊর্দ্ধপানে চেয়ে",
    "ਕੀ ਤੁਸੀਂ ਪੰਜਾਬੀ ਬੋਲਦੇ ਹੋ?",
    "અમને ગુજરાતી ભાષા ગમે છે.",
    "யாமறிந்த மொழிகளிலே தமிழ்மொழி போல் இனிதாவது எங்கும் காணோம்.",
    "నేను తెలుగు మాట్లాడతాను",
    "ಕನ್ನಡ ಕಲಿಯಿರಿ ಸಿರಿಗನ್ನಡಂ ಗೆಲ್ಗೆ",
    "അജവും ആനയും ഐരാവതവും ഗരുഡനും",
    "ආයුබෝවන් ශ්‍රී ලංකා",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน",
    "ສະບາຍດີ ເຈົ້າສະບາຍດີບໍ່",
    "ယေဓမ္မာ ဟေတုပ္ပဘဝါ",
    "ជំរាបសួរ តើអ្នកសុខសប្បាយជាទេ",
    "བཀྲ་ཤིས་བདེ་ལེགས།",
    "ሰላም ልዑል እንደምን አለህ፧",
    "ᎣᏏᏲ ᏙᎯᏧ",
    "Hơn 1.000 người Việt ở Đà Nẵng đã được cứu.",
    "我能吞下玻璃而不傷身體。“你好”，他說：「再見」……",
    "今日は良い天気ですね。カタカナとひらがな、ﾊﾝｶｸも。々〆〇",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "ᄒᆞᆫ글 (jamo) ㄱㄴㄷ",
    "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕬𝖇𝖈 𝟙𝟚𝟛 ᵃᵇᶜ ₁₂₃ ①②③",
    "𓀀𓂀𓃰 𐎠𐎡 𐤀𐤁 𒀀𒁀",
    "H₂O ≠ x² + y³ → ∑∫√∞ ≈ ±∂ ℝ⊂ℂ",
    "Ḽơᶉëᶆ ȋṕšᶙṁ ḍỡḽǭᵳ ʂǐť ӓṁệẗ",
    "e\u0301cole = école; A\u030angstro\u0308m = Ångström = Ångström",
    "https://example.org/a%20b?q=1&r=%E2%82%AC#top user.name+tag@mail.example.co.uk",
    "C:\\Program Files\\x64\\new.txt ../..//usr/bin/*.{py,c}",
    "ALL CAPS, lower, MiXeD, i18n, McDonald's O'Neill rock'n'roll '90s 'tis",
]

CODE = [
    'def f(x: int = 0) -> "str":\n    """Doc."""\n    return f"{x!r:>10}" if x else None\n',
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i]; // dot\n}\r\n",
    '#include <stdio.h>\nint main(void) { printf("%d\\n", 1<<3); return 0; }',
    'fn main() -> Result<(), Box<dyn Error>> { let x: &\'static str = "é"; Ok(()) }',
    '{"a": [1, 2.5e-3, null, true], "b": {"c\\u00e9": "\\n"}}',
    "<html><body><h1>Hi</h1><ul><li>1</li></ul><table><tr><td>x</td></tr></table></body></html>",
    "<div class='a'>\n  <p> text </p> </div> <br/> <s>old</s> <em>b</em> > </",
    "SELECT COUNT(*), t.name FROM t WHERE x >= 10 AND y <> 'O''Reilly' -- comment",
    "\\begin{align} \\frac{1}{2} &= \\sum_{i=1}^{n} x_i^2 \\\\ \\end{align}",
    "$ grep -rn 'foo' . | awk '{print $1}' > out.txt 2>&1 && echo \"done: $?\"",
    "--- a/x.py\n+++ b/x.py\n@@ -1,3 +1,4 @@\n-old\n+new\n context",
    "key:\n  - item: 1\n    list: [a, b]\n  - |\n    block\n\n\n",
    "x = {**a, 'b': [i**2 for i in range(10) if i % 2 == 0]}  # even",
    "lambda_ = lambda *args, **kw: (yield)\n\n\nclass A(B):\n\n    pass\n",
    "import React from 'react';\nconst App = () => <div>{`${1+1}`}</div>;\n\n\n\nexport App;",
    '\t\tif err != nil {\n\t\t\treturn fmt.Errorf("x: %w", err)\n\t\t}\n',
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n\n```py\nprint('hi')\n```\n> quote\n* [ ] todo",
    "0x1F 0b1010 0o17 1_000_000 1e10 .5 5. 0xDEADBEEFcafe 1'000u 3.14f",
    "a==b!=c<=d>=e&&f||g!h~i^j|k&l<<m>>n++o--p+=q-=r*=s/=t%=u->v=>w::x..y...z??aa?.bb",
    "a \x04* b\x06c \x14= (\x13) word\x1ds \x04the",  # SmolLM2 has no tokens for these bytes
    "/* block */ // line\n# hash\n; asm\n-- sql\n''' py '''\n%% tex",
]

NUMBERS = [
    "0", "00", "12", "123", "1234", "12345", "123456", "1234567", "12345678901234567890",
    "3.14159", "1,234,567.89", "1.234.567,89", "-273.15", "1e-9", "2024-02-29T23:59:60Z",
    "+1 (555) 010-9999", "192.168.0.1", "::1", "v1.2.3-rc.4", "50%", "$1.00", "€5", "½ ¾ ⅓",
    "١٢٣٤٥", "۱۲۳", "१२३४", "๑๒๓", "１２３４", "Ⅷ Ⅻ", "①②③", "10⁹", "5th 21st", "7x7", "1st2nd3rd",
]  # fmt: skip

EMOJI = [
    "😀", "😂🤣", "👍🏽", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇯🇵", "🇺🇳🇦", "1️⃣#️⃣", "❤️", "❤", "☺️", "🧑🏿‍🚀",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🫠", "🪿", "🫩", "🤷‍♀️", "👁️‍🗨️", "🐈‍⬛", "⌚⏰", "™️©®", "🀄🃏", "♟️", "🈁🉐", "🥹", "🦾🦿",
    "🧿", "⚧️", "🕴🏼‍♂️",
]  # fmt: skip

WHITESPACE = [
    " ", " ", "  ", "   ", "\t", "\t", "\n", "\n", "\n\n", "\r\n", "\r", "\v", "\f", "\x85", "\xa0",
    "\u1680", "\u2003", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000",
    "\u200b", "\ufeff", "\u180e", "\x1c", "\x1f", " \n", "\n ", "\t ", " \t",
]  # fmt: skip

SPECIAL_TEXTS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>user\n", "<|im_end|>\n",
    "<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>", "<empty_output>",
    "<|object_ref_start|>", "<|vision_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>",
    "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
    "[PAD151665]", "[PAD151935]", "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "[multimodal]",
    "<unused0>", "<unused99>", "<unused6241>", "<start_of_turn>", "<end_of_turn>",
    "<start_of_image>", "<end_of_image>", "<table>", "</table>", "<td>", "<h1>", "</ul>", "<code>",
    "<strong>", "<sup>", "<0x0A>", "<0xFF>", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>",
    "<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end|>", "<|user|>", "<think>",
    "</think>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "\u2581", "\u2581\u2581the\u2581",
    "\u0120", "\u010a", "<|", "|>", "<|im_", "<<|im_start|>>", "<|im_start|", ">\u2581</",
]  # fmt: skip

SCRIPTS = [
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0xFF), (0x100, 0x17F), (0x180, 0x24F), (0x250, 0x2AF),
    (0x370, 0x3FF), (0x400, 0x4FF), (0x500, 0x52F), (0x531, 0x58A), (0x5D0, 0x5F4), (0x600, 0x6FF),
    (0x700, 0x74F), (0x780, 0x7B1), (0x7C0, 0x7FA), (0x800, 0x83E), (0x8A0, 0x8FF), (0x900, 0x97F),
    (0x980, 0x9FE), (0xA01, 0xA76), (0xA81, 0xAFF), (0xB01, 0xB77), (0xB82, 0xBFA), (0xC00, 0xC7F),
    (0xC80, 0xCF2), (0xD00, 0xD7F), (0xD81, 0xDF4), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA),
    (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x13FD),
    (0x1400, 0x167F), (0x16A0, 0x16F8), (0x1700, 0x1714), (0x1780, 0x17F9), (0x1800, 0x18AA),
    (0x1D00, 0x1DBF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x209C),
    (0x20A0, 0x20C0), (0x2100, 0x218B), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x2460, 0x24FF),
    (0x2500, 0x257F), (0x2600, 0x26FF), (0x2700, 0x27BF), (0x2800, 0x28FF), (0x2C00, 0x2C5F),
    (0x2C80, 0x2CFF), (0x2D00, 0x2D2D), (0x2D30, 0x2D7F), (0x3000, 0x303F), (0x3041, 0x309F),
    (0x30A0, 0x30FF), (0x3105, 0x312F), (0x3131, 0x318E), (0x3200, 0x32FF), (0x3400, 0x34FF),
    (0x4E00, 0x5300), (0x9F00, 0x9FFF), (0xA000, 0xA0FF), (0xA4D0, 0xA4FF), (0xA640, 0xA69F),
    (0xA720, 0xA7CA), (0xA980, 0xA9DF), (0xAA00, 0xAA5F), (0xABC0, 0xABF9), (0xAC00, 0xACFF),
    (0xD700, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAD9), (0xFB00, 0xFB17), (0xFB50, 0xFDFF),
    (0xFE30, 0xFE6B), (0xFF01, 0xFFEE), (0x10000, 0x100FA), (0x10300, 0x1034A), (0x10400, 0x104FB),
    (0x10900, 0x1091F), (0x11000, 0x11075), (0x12000, 0x120FF), (0x13000, 0x130FF),
    (0x16800, 0x168FF), (0x1B000, 0x1B0FF), (0x1D100, 0x1D1DD), (0x1D400, 0x1D7FF),
    (0x1E900, 0x1E95F), (0x1F000, 0x1F0F5), (0x1F100, 0x1F1FF), (0x1F300, 0x1F64F),
    (0x1F680, 0x1F6FF), (0x1F900, 0x1FAFF), (0x20000, 0x200FF),
]  # fmt: skip
