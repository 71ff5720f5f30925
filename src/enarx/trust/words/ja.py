"""Japanese."""

from typing import Final

WORDS: Final = {
    # --- the page
    "page.title": "トラストスタック",
    "page.heading": "信頼が必要なのは誰か",
    "page.lead": (
        "ワークロードは何層ものスタックの上で動作し、各層にはその挙動を変えられる所有者がいます。"
        "この図は、信頼せざるを得ない層と所有者、証明されている事項、そして保護されない事項を示します。"
    ),
    "page.stacks": "スタック",
    "page.around": "すべてのスタックの外側にあるもの",
    "page.around-lead": "スタックの図には現れず、証明があっても変わらない事項です。",
    "page.details": "各行の詳細",
    "page.details-lead": "各行の状態の理由と根拠、および判明しているバージョンです。",
    "page.checks": "検査項目",
    "page.checks-lead": "判定したすべての規則です。上の各行には、根拠とした規則の名前を示しています。",
    "page.key": "図の読み方",
    "page.owners": "所有者",
    "page.statuses": "状態",
    "page.skip": "スタックへ移動",
    "page.top": "図へ戻る",
    "page.made": "Enarx {version} により {time} に作成。",
    "page.honest": (
        "「証明済み」とは、エビデンスが半導体ベンダーのルート鍵まで検証され、テナントの期待と一致したことを意味します。"
        "何が動作しているかを示すものであり、その品質を保証するものではありません。"
    ),
    "page.evidence": "エビデンスの値",
    "page.versions": "バージョンと設定",
    "page.checked-by": "検査",
    "page.subject": "対象",
    "page.judged": "判定の基準時刻",
    "page.of-layers": "層の信頼が必要\n（全{total}層中）",
    "page.count": "{status} {count}",
    "page.owners-remain": "信頼が必要な所有者",
    "page.owners-gone": "信頼が不要",
    "page.none": "なし",
    "column.check": "検査項目",
    "column.expected": "期待値",
    "column.seen": "実際の値",
    "column.source": "期待値の出典",
    "column.result": "結果",
    "rule.pass": "合格",
    "rule.fail": "不合格",
    "separator": "、",
    "titled": "{title}（{basis}）",
    "sourced": "{fact}（{source}）",
    "colon": "：",
    # --- kinds
    "kind.vm": "クラウドの仮想マシン",
    "kind.container": "クラウドのコンテナ",
    "kind.host": "このマシン上のプログラム",
    "kind.keep-process": "プロセスKeep（SIMULATED）",
    "kind.keep-vm": "TEEなしのVM Keep（SIMULATED）",
    "kind.keep-simulated": "模擬プロセッサ上のKeep（SIMULATED）",
    "kind.keep-snp": "AMD SEV-SNP上のKeep",
    "kind.keep-sev": "AMD SEV上のKeep",
    "kind.keep-sev-es": "AMD SEV-ES上のKeep",
    "kind.keep-tdx": "Intel TDX上のKeep",
    "kind.keep-unknown": "Keepと称するもの",
    "basis.design": "設計上の構成",
    "basis.evidence": "エビデンスに基づく",
    "basis.host": "マシン自身の申告",
    "about.vm": "ゲストは自分のものですが、その下のすべての層から読み取れます。",
    "about.container": "自分のものはアプリケーションだけで、カーネルは共有されます。",
    "about.host": "ここにあるすべての層がプログラムを読み取れ、その正体を証明するものはありません。",
    "about.keep-process": "開発用です。ホストから隔離されていません。",
    "about.keep-vm": "実際のKeepと同じイメージですが、それを保護するプロセッサがありません。",
    "about.keep-simulated": "開発用です。ホストから隔離されていません。",
    "about.keep-snp": "ホストはバイト列を運ぶだけです。停止はできても、内容は読めません。",
    "about.keep-sev": "暗号化され、起動前に判定されますが、改変からは保護されません。",
    "about.keep-sev-es": "レジスタも含めて暗号化されますが、改変からは保護されません。",
    "about.keep-tdx": "起動はできますが検証できません。このバージョンはTDXクォートを読めません。",
    "about.exposed": "ハードウェアは真正ですが、ホストはこのゲストのメモリに到達できます。",
    "about.unestablished": "ハードウェアは真正です。その上で何が動作しているかは確認できていません。",
    "about.keep-unknown": "提示された内容は受け入れられませんでした。",
    # --- layers
    "layer.application": "アプリケーション",
    "layer.middleware": "ミドルウェア",
    "layer.keep": "Keep",
    "layer.userland": "ユーザーランド/イメージ",
    "layer.container-engine": "コンテナエンジン",
    "layer.guest-os": "ゲストOS",
    "layer.hypervisor": "ハイパーバイザー",
    "layer.host-os": "ホストOS",
    "layer.boot-loader": "ブートローダー",
    "layer.bios": "BIOS/EFI",
    "layer.firmware": "CPUファームウェア",
    "layer.cpu": "CPU",
    "around.physical-operator": "物理アクセスできる者",
    "around.side-channels": "サイドチャネル",
    "around.verifier": "検証者",
    "around.registry": "レジストリ",
    "around.clock": "時計",
    "around.denial-of-service": "サービス拒否",
    # --- owners
    "owner.tenant": "テナント",
    "owner.middleware": "ミドルウェア",
    "owner.os-vendor": "OSベンダー",
    "owner.cloud-provider": "クラウド事業者",
    "owner.oem": "OEM",
    "owner.silicon-vendor": "半導体ベンダー",
    "owner.third-party": "第三者",
    "owner-about.tenant": "利用者自身。ワークロードとデータの持ち主",
    "owner-about.middleware": "Keepではこのオープンなプロジェクト、それ以外では各製品の提供元",
    "owner-about.os-vendor": "ディストリビューション：カーネル、ライブラリ、ツール",
    "owner-about.cloud-provider": "マシンの運用者と、ログインできるその従業員",
    "owner-about.oem": "マシンとそのファームウェアの製造元",
    "owner-about.silicon-vendor": "プロセッサを製造し、署名する企業",
    "owner-about.third-party": "イメージの作成者とレジストリの運用者",
    # --- statuses
    "status.proved": "証明済み",
    "status.assumed": "前提",
    "status.unknown": "不明",
    "status.not-protected": "保護されない",
    "status.out": "スタック外",
    "status.absent": "該当なし",
    "status-about.proved": "信頼が必要ですが、検証済みのエビデンスがその正体を示しています。",
    "status-about.assumed": "信頼が必要で、それを証明するものはありません。",
    "status-about.unknown": "確認できていません。依存してはいけません。",
    "status-about.not-protected": "既知の攻撃手段があり、ここではそれを防げません。",
    "status-about.out": "もはやワークロードを読み取ることも改変することもできません。",
    "status-about.absent": "このスタックには該当する層がありません。",
    # --- verdicts and notes
    "verdict.accepted": "ポリシーにより受理（ACCEPTED）",
    "verdict.authentic": "真正（AUTHENTIC）、ポリシーによる判定なし",
    "verdict.refused": "拒否（REFUSED）",
    "note.design": "実物は調べていません。設計上の構成と、エビデンスがあれば証明される内容を示します。",
    "note.never-run": "本プロジェクトのKeepは、このハードウェア上ではまだ一度も実行されていません。",
    "note.simulated": (
        "SIMULATED（模擬）：セキュアプロセッサはソフトウェアです。ホストについては何も証明されず、"
        "ホストを支配する者はこのKeepを読み取り、改変できます。"
    ),
    "note.says-simulated": (
        "SIMULATED（模擬）と自称：エビデンスが示すのはシミュレーターであり、そのルートは誰にも受け入れられていません。"
    ),
    "note.host": ("バージョンはこのマシン自身の申告です。証明はなく、マシンを支配する者はこれを自由に変えられます。"),
    "note.no-policy": (
        "ポリシーが指定されていません。エビデンスは真正ですが、どのゲストとワークロードを期待するかが示されていません。"
    ),
    "note.refused": "どの層についても、確認できたことはありません。",
    "note.bundle": "バンドル内のポリシー、マニフェスト、CA、時刻で判定しました。これらを選んだのは作成者です。--policyで自身のポリシーによる判定ができます。",
    "note.platform": "プラットフォーム証明書が示すのはマシンの身元だけで、起動の内容は証明されません。",
    "note.debug": "警告：このゲストはデバッグが許可されており、ホストがメモリを読み取り、改変できます。",
    "note.sharing": "警告：ホストはこのゲストのメモリ鍵で別のゲストを動かせます。",
    "note.migration": "警告：マイグレーションエージェントがこのゲストの状態を移動でき、それは検証されていません。",
    # --- facts
    "fact.more": "ほか（件数）",
    "fact.digests": "個別のダイジェストを持つ構成要素の数",
    "fact.snp-firmware": "SEV-SNPファームウェア",
    "fact.signer": "署名した鍵",
    "fact.root": "信頼のルート",
    "fact.product": "製品",
    "fact.cpuid": "ファミリー/モデル/ステッピング",
    "fact.workload": "ワークロード",
    "fact.media-type": "ワークロードの種類",
    "fact.config": "Enarx.toml",
    "fact.steward": "Steward",
    "fact.steward-ca": "StewardのCA",
    "fact.policy": "ポリシー",
    "fact.verifier": "判定者",
    "fact.revocation": "失効の確認",
    "fact.not-after": "有効期限",
    "fact.processor": "プロセッサ",
    "fact.microcode": "マイクロコード",
    "fact.kernel": "Linuxカーネル",
    "fact.distribution": "ディストリビューション",
    "fact.hypervisor": "ハイパーバイザー",
    "fact.bios": "BIOS",
    "fact.board": "マシン",
    "fact.boot": "起動元",
    "fact.secure-boot": "セキュアブート",
    "fact.python": "Python",
    "fact.api": "ファームウェアのSEV API",
    "fact.launch-digest": "起動ダイジェスト",
    "fact.approved-manifest": "承認されたマニフェスト",
    "fact.approval": "承認",
    "fact.platform-owner": "プラットフォームの所有者（OCA）",
    "fact.pek": "プラットフォーム鍵（PEK）",
    "tcb.bootloader": "セキュアプロセッサのブートローダー",
    "tcb.tee": "セキュアプロセッサのOS",
    "tcb.snp": "SEV-SNPファームウェアのセキュリティバージョン",
    "tcb.microcode": "マイクロコードのセキュリティバージョン",
    "tcb.fmc": "最初の可変コード（FMC）",
    "platform.alias_check_complete": "メモリのエイリアス検査",
    "platform.ecc": "ECCメモリ",
    "platform.tsme": "全メモリの暗号化（TSME）",
    "platform.smt": "SMTが有効",
    "platform.ciphertext_hiding": "ホストからの暗号文の隠蔽",
    "platform.rapl_disabled": "電力計測（RAPL）の無効化",
    # --- whose word a fact is
    "source.evidence": "エビデンス",
    "source.simulated": "模擬エビデンス（SIMULATED）",
    "source.manifest": "マニフェスト",
    "source.sbom": "SBOM",
    "source.host": "ホストの申告",
    "source.verifier": "検証者",
    # --- reasons: classic stacks
    "absent": "ワークロードの下に、この種の層はありません。",
    "vm.application": "自分のコードです。どのバージョンが動作しているかを、ほかの誰にも示せません。",
    "vm.middleware": "ランタイム、サーバー、エージェント。いずれもアプリケーションの持つ情報をすべて読み取れます。",
    "vm.userland": "ディストリビューションのツールとライブラリ、および事業者のイメージが加えたものです。",
    "vm.guest-os": "すべてのプロセスを読み取れます。選んだカーネルが実際に起動したという保証は、事業者の言葉だけです。",
    "vm.hypervisor": "ゲストのメモリとレジスタを、いつでも気づかれずに読み取り、改変できます。",
    "vm.host-os": "ハイパーバイザーを動かし、デバイスを模擬します。その管理者にも同じことができます。",
    "vm.boot-loader": "ホストが何を起動するかを決めます。セキュアブートがそれを示す相手は事業者であり、利用者ではありません。",
    "vm.bios": "最初に起動し、どのカーネルよりも下に常駐します。更新の時期は製造元と事業者次第です。",
    "vm.firmware": "マイクロコードとセキュアプロセッサは全メモリに届きます。実際のバージョンはゲストに示されません。",
    "vm.cpu": "仕様書どおりに動作し、それ以外のことをしないかどうかは、製造元にしか確かめられません。",
    "container.userland": "他者が作ったベースレイヤーです。多くは、指す内容を変えられる名前で取得されます。",
    "container.container-engine": "名前空間を作り、秘密情報を渡します。そのroot権限は、全コンテナのroot権限です。",
    "container.guest-os": "ノード上の全コンテナが共有するカーネルです。欠陥が一つあれば、すべてが破られます。",
    # --- reasons: this machine
    "host.application": "ここで起動される任意のプログラムです。",
    "host.middleware": "ここにインストールされたインタープリターとランタイムです。",
    "host.userland": "ここにインストールされたディストリビューションです。",
    "host.container-engine": "プログラムはコンテナ内で動作しています。エンジンを支配する者がプログラムを支配します。",
    "host.guest-os": "このシステムが動作しているカーネルです。",
    "host.hypervisor": "このマシン自体がゲストです。これを動かす側は、内部のすべてを読み取り、改変できます。",
    "host.host-os": "マシンを動かしているシステムです。",
    "host.boot-loader": "カーネルを起動したものです。",
    "host.bios": "マシンを起動し、現在もカーネルの下で動作しています。",
    "host.firmware": "プロセッサ内部のコードです。バージョンはカーネルに伝えられた値です。",
    "host.cpu": "プロセッサの自称です。ハイパーバイザーは任意の名前を名乗らせることができます。",
    # --- reasons: simulated Keeps
    "simulated.application": (
        "エビデンスはこのワークロードのマニフェストを示しますが、マシンを支配する者は任意の内容で同様のものを作れます。"
    ),
    "simulated.middleware": "同じマシン上のソフトウェアが測定しました。誤りは見つかりますが、攻撃者は見つかりません。",
    "simulated.userland": "イメージの一部で、同じマシン上のソフトウェアが測定しました。何も証明されません。",
    "process.userland": "マシン自身のインタープリターとライブラリで、測定されるのはその一部だけです。",
    "either.userland": "マシン自身のもの、またはイメージのものです。模擬エビデンスではどちらも証明されません。",
    "simulated.guest-os": "イメージ自身のカーネルで、同じマシン上のソフトウェアが測定しました。何も証明されません。",
    "process.guest-os": "プロセスKeepはホストのカーネル上で動作します。",
    "either.guest-os": (
        "プロセスKeepはホストのカーネル上で、VM Keepは自身のカーネル上で動作します。模擬エビデンスではどちらも証明されません。"
    ),
    "simulated.hypervisor": "Keep内のすべてを読み取り、改変できます。これについては何も証明されていません。",
    "simulated.host-os": "Keep内のすべてを読み取り、改変できます。これについては何も証明されていません。",
    "simulated.boot-loader": "ホストのカーネルを選びます。これについては何も証明されていません。",
    "simulated.bios": "ホストのカーネルの下で動作します。これについては何も証明されていません。",
    "simulated.firmware": "エビデンス中のバージョンはシミュレーターの創作であり、このマシンとは関係ありません。",
    "simulated.cpu": "保証するものはありません。このエビデンスのルートは、それを作ったマシン上のファイルです。",
    # --- reasons: SEV-SNP
    "snp.application": (
        "まさにこのワークロード、その設定と制限です。マニフェストのダイジェストは起動時に固定され、署名されています。"
        "コードの品質は、引き続きその所有者の責任です。"
    ),
    "snp.application-by-steward": (
        "マニフェストのダイジェストは起動時に固定され、署名されています。"
        "それがどのワークロードであるかは、ここで信頼されたCAを持つStewardが判定しました。"
    ),
    "snp.middleware": (
        "実行前に測定され、その測定値は期待されたものです。通信の鍵はエビデンスに含まれるため、"
        "ほかの誰も代わりに応答できません。"
    ),
    "snp.middleware-alone": (
        "実行前に測定され、その測定値は期待されたものです。どの鍵に対するエビデンスかは調べていません。"
        "レポートだけでは、通信の相手が誰であるかは分かりません。"
    ),
    "snp.userland": "インタープリターとライブラリは、最後の1バイトまで、測定されたイメージの一部です。",
    "snp.guest-os": "カーネル、初期RAMディスク、コマンドライン、ゲスト自身のファームウェアが測定値に含まれます。",
    "snp.hypervisor": (
        "メモリとレジスタは、ハイパーバイザーが決して得られない鍵で暗号化されます。Keepのページへの書き込みは"
        "プロセッサが拒否します。できるのは、停止や資源の制限だけです。"
    ),
    "snp.host-os": (
        "暗号化されたバイト列を運ぶだけです。Keepはネットワークスタックを持たず、TLSは内部で終端します。"
        "破棄や遅延は可能です。"
    ),
    "snp.boot-loader": "ホストが何を起動するかは決められますが、起動されたものはKeepのメモリに到達できません。",
    "snp.bios": (
        "セキュアプロセッサは、ゲストを保護する前に、依存する設定を検査します。"
        "システム管理モードから見えるのは暗号文だけです。"
    ),
    "snp.firmware": (
        "バージョンは、それ以上のバージョンのファームウェアだけが導出できる鍵で署名されています。"
        "欠陥がないことは前提であり、既知の欠陥にはポリシーの最低バージョンが有効です。"
    ),
    "snp.cpu": (
        "ここでのすべての証明の根です。真正であることはベンダーの鍵が保証しますが、シリコンが正しく動作し、"
        "ベンダーの鍵が安全であることは、ほかの誰にも確かめられません。"
    ),
    "unstated.application": "エビデンスはマニフェストのダイジェストを示しますが、どれを期待するかが指定されていません。",
    "unstated.measured": (
        "エビデンスは測定値を示しますが、どれを期待するかが指定されていません。任意のソフトウェアの可能性があります。"
    ),
    "unstated.beneath": "ゲストがKeepである場合にのみ排除されますが、それは確認できていません。",
    "debug.software": (
        "起動された内容は証明されていますが、デバッグが許可されているため、その後ホストに改変された可能性があります。"
    ),
    "debug.beneath": "デバッグが許可されています。ホストはファームウェアを介してメモリを読み取り、改変できます。",
    "migration.software": (
        "起動された内容は証明されていますが、検証されていないマイグレーションエージェントがその状態を持つ可能性があります。"
    ),
    "migration.beneath": "マイグレーションエージェントがゲストの状態を移動でき、それは検証されていません。",
    "sharing.software": "起動された内容は証明されていますが、別のゲストに同じ鍵が与えられ、その後改変された可能性があります。",
    "sharing.beneath": "ホストは同じメモリ鍵で別のゲストを動かせるため、メモリを読み取れます。",
    # --- reasons: SEV, SEV-ES, TDX
    "sev.application": (
        "テナントは起動の途中で一つのマニフェストを承認し、そのダイジェストは、この起動だけに渡される秘密情報に含まれます。"
    ),
    "sev.middleware": "実行前に測定されます。測定値が一致した場合にのみ秘密情報、すなわち身元が与えられます。",
    "sev.userland": "インタープリターとライブラリは、実行前に測定されるイメージの一部です。",
    "sev.guest-os": "カーネル、初期RAMディスク、コマンドライン、ゲストのファームウェアが実行前に測定されます。",
    "sev.beneath": (
        "メモリは暗号化されますが、ホストはそれを改変・再生でき、ゲストの停止時にはレジスタも見えます。"
        "公表された攻撃では、これによりメモリが読み取られています。"
    ),
    "sev-es.beneath": (
        "メモリとレジスタは暗号化されますが、ホストはページを移動・再生できます。"
        "公表された攻撃では、これによりメモリが読み取られています。"
    ),
    "sev.firmware": "起動の測定値の中で自身のバージョンを保証します。そのバージョンに欠陥がないことは前提です。",
    "sev.cpu": (
        "ここでのすべての証明の根です。ベンダーによる保証は、テナントの承認者が起動時に検証しました。シリコンが正しく動作し、"
        "ベンダーの鍵が安全であることは、ほかの誰にも確かめられません。"
    ),
    "sev.no-launch": "プラットフォーム証明書は、起動については何も示しません。",
    "tdx.unverified": "このバージョンにはTDXクォートの検証機能がなく、このようなKeepについては何も証明できません。",
    "tdx.beneath": (
        "IntelのTDXモジュールはこの層を排除するよう設計されていますが、それを証明するクォートをこのバージョンは検証できません。"
    ),
    "refused": "提示された内容は受け入れられなかったため、確認できたことはありません。",
    # --- reasons: beside every stack
    "operator.plain": (
        "メモリは、デバッグポート、バス上のデバイス、冷却したモジュールから読み取れます。筐体を開けられる者がマシンを支配します。"
    ),
    "operator.tee": (
        "メモリモジュールのエイリアスやメモリバスのインターポーザーを使う公表済みの攻撃（BadRAM、Battering RAM、TEE.fail）は、"
        "ノートPC程度の費用で現在のTEEを破ります。誰が筐体を開けられるかは、エビデンスには示されません。"
    ),
    "side-channels.plain": "同じハードウェア上の他者が、キャッシュやページフォールトを観測できます。対策は事業者次第です。",
    "side-channels.tee": (
        "キャッシュ、分岐予測、ページフォールト、暗号文、電力、タイミングからは依然として情報が漏れ、"
        "最も観測しやすいのはホストです。通信の量、時刻、相手もホストに見えます。"
    ),
    "verifier.none": "検証すべきものがないため、検証者もいません。",
    "verifier.tenant": (
        "エビデンスを判定するプログラム、マシン、ポリシーを守るのはテナントです。"
        "誤ったポリシーは、誤ったKeepを受理します。"
    ),
    "registry.plain": "名前で取得した内容は、その時点でレジストリが返すもの次第です。",
    "registry.checked": (
        "Keepは渡された内容のダイジェストを検査します。レジストリにできるのは、提供を拒むことと、"
        "ポリシーがまだ受理する古い内容を出すことだけです。"
    ),
    "registry.simulated": "Keepは渡された内容のダイジェストを検査しますが、ここではホストがその検査を変更できます。",
    "registry.unknown": "ワークロードが証明されていないため、レジストリから得た内容も不明です。",
    "clock.plain": "時刻はハイパーバイザーまたはネットワークから得られ、ログや証明書はそれに依存します。",
    "clock.keep": (
        "Keepの時刻はホストから、検証者の時刻は自身の時計から得られます。時計を戻せる者は、期限切れのものを復活させられます。"
    ),
    "availability.plain": "事業者はいつでも停止できます。それを禁じるのは契約であり、仕組みではありません。",
    "availability.keep": (
        "ホストはいつでも、Keepの起動の拒否、資源の制限、通信の遮断、停止ができます。これを防ぐTEEはありません。"
    ),
    # --- summaries
    "summary.remain": "全{total}層中{count}層の信頼が必要：証明済み{proved}、前提{assumed}、不明{unknown}。",
    "summary.owners": "信頼が必要な所有者：{owners}。",
    "summary.gone": "信頼が不要：{owners}。",
    "summary.more": "`enarx trust` は理由を含むスタック全体を表示し、`--html` はページを作成します。",
}
"""By key. What stands in braces is filled in."""
