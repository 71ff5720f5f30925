"""AMD's SEV root and signing keys per product, embedded as facts and replaceable.

Key ids, moduli and digests were read from the ARK and ASK certificates that AMD publishes in its own format
(``https://download.amd.com/developer/eula/sev/ask_ark_<product>.cert``). From Milan on, AMD uses the same RSA keys for
the X.509 chain of SEV-SNP; the Genoa keys are taken from there (``cert_chain`` of VCEK Genoa) and the Genoa root's key
id from the firmware source that AMD published (AMD-ASPFW, ``amd_cert.c``), so no file digest is stated for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from enarx.evidence.sev.certs import CaCertificate

AMD_EXPONENT = 65537
"""Public exponent of every ARK and ASK."""


@dataclass(frozen=True, slots=True)
class CaKey:
    """An ARK or ASK key. ``key_id`` and ``certificate_sha256`` are None where they are not known."""

    key_id: bytes | None
    modulus: int
    modulus_bits: int
    certificate_sha256: str | None = None
    exponent: int = AMD_EXPONENT

    @classmethod
    def of(cls, certificate: CaCertificate) -> CaKey:
        """The key of a certificate, taken on the caller's word."""
        return cls(certificate.key_id, certificate.modulus, certificate.modulus_bits, exponent=certificate.exponent)

    def is_key_of(self, certificate: CaCertificate) -> bool:
        """True when the certificate holds this very key, under this key id where one is known."""
        return (
            self.modulus == certificate.modulus
            and self.modulus_bits == certificate.modulus_bits
            and self.exponent == certificate.exponent
            and self.key_id in (None, certificate.key_id)
        )


@dataclass(frozen=True, slots=True)
class Root:
    """A root of trust: the ARK of one product, and its ASK where a chain may come without one.

    ``simulated`` marks a root that belongs to a simulator or a test; it shows in every proof.
    """

    product: str
    ark: CaKey
    ask: CaKey | None = None
    simulated: bool = False


_NAPLES_ARK_MODULUS = (
    "dbbe91655458b2c0c990a611246c50d0d156fe3a40c6ad1975da499b0a0325bb54df8bc7f5d8a1bb4a0cfdbee558abf4792781b0"
    "c3a8fe30365c332b59c9a2df316f38037f965a2803900221872e51cd943f655562563a47a9a1d66993f144ff5a356e9027dbbc6e"
    "a43e33fdf555684bfefd831b3a74663ef42015078c10597e41a95367371e34d10204d6c2e7cb1fbc1d6b6145b458f29c1019e317"
    "a6436a8be8b731dfac1861bab5223da03cc90a0272d52311eb19e0f8568f2d1e885615a9d8c6238b656a068368ee0afb6a8bd2ef"
    "f95d37eae3427f40345d35a827b97f4e9012e05660ac9fb48677de84d4949826fde45c243aa655eb1c83000ace606cb9"
)
_NAPLES_ASK_MODULUS = (
    "d382ec946922966be504ef2205da44ae319ba0a7ce986745541e554e18ee4ec80e9df7cbf1193bd9a7f81ce41a7236f11838889b"
    "610a70598e422ab0bae05388e6943ffa6db8f24e185d228c65c39d270de8fb2c4eb3bdcaec2d41eb7e4c4252a2bdad918b697766"
    "1507d1e5b54358a3dd586d512aaf427ea56ed82cb3e6c406099ff5721d414494b73c32e2ae19f031546b3635ead83b08e6228053"
    "11a2c9cf8b15ef602a81913a26da88bed5ef4825c1edbad1f1b0cdd9e4cb4bce0ed75786b2f949f0860abaaee6f961650ae80335"
    "a85a3bbc6dca83c07e7a5dd7fb79a3de15f0f41199eeae13142412350a92224d43d5222959c62e2a229df0046708811f"
)
_ROME_ARK_MODULUS = (
    "dc750ef1ba69c5f4273f004b811c48a683c2ecac0dea96f4b2a06a573af650235d1f089b7c6c6a8efff9103344e7dfa2c6881b5e"
    "f61932819e3dac3da17fe44a323d52dea366da861994700d81ac5e9316a53d3101ca28a34427c5e560f97a0c005f39867e4ca446"
    "3de2019f8ed32898f35e4b1ab903b7f5be24246d187ab2a4063c52c1cdbe8a71d3c681f50ce52020019e6143e65e24265b24b974"
    "7ffb3bbfdc1031a628c10af2e1103b9342e51a3c5c4615b8c3327e51718b0226e6c89428014f9bd152dd191a41020287c9d23d8c"
    "399b04bf7d4178647d51e874540f1715300878cac9712fd4b73f39b2ff6381379c40895a127033359a7a965ee320b07c0721959d"
    "643ebce13c40103057046066eb6d633486ad104ff02d68b7e0712a0bd43761e5034ac9c64dfd46ee708cd646235491fbd0989f5a"
    "121cc9cb2863e562afee1d43388e8723a9e2d41bc76b03fe68c727bb80ea5c4676e0cbd2c303903e9799a364a81c60443f9b5696"
    "f72d7dc3a4934e7ccf01d53e3d779ff3d9e6f2b4b25012606f53f8b8263c0f834dc42859d6e40a281b1d0db11689385f92f7389d"
    "b699b8d8da79aa89417268dff87e602e06a72c6effa1b7bf630f97ce7906f615c3436d2888196dab523cea7db4760c7179374bca"
    "2d2f992fbdec133a0aeb327f5604dcdea43b0eada68e37b7dc37c2e85c20e9a5ab19f23f4485d7005e9518ab"
)
_ROME_ASK_MODULUS = (
    "b89a6acfbbce5a8f7b33150c53ce5a241e77726e7897e4e46e5a935a4da199d688b56e29c4b39b3913154ec6b94dad79f9ac427f"
    "d809aa30a73baceb9e89574bb1a82a7d2663c175f78e189fc5930d9306b0454200781953cbb1ecb4d56d44584a4bf04c90350ee4"
    "775bc30152bfbb6f48b19ac7cb0f8b5d2ee78b12718b37ac3efa48cc6075b7e509bc97831c892712a89b47b3a38dd20f8583ad5d"
    "297b7eb748bcd183cedb5a83ecbaba8e02f824cfa0cd509258d3c5224d7246db9d22e176e479ba3cd1e96ee93fba7c95aea7107d"
    "504df98c69dcf40ce2c358d36b913ce54af7b9791033cc330e7d020a6257f2c0708d578b9078e0287dc156c0863490282b24dd45"
    "c1a617feb1c37d84db825a71a4f2ced96851722a67e9c24b2ed873c79ab466d99380e77a6bbcde651973fc746259bee5dd8eea7d"
    "e28c93a5e0095624cdad548ff91aaff148ccffe76e928693c096c937e95c2935f54bb02d1155ade60fbbb73f870ff6b8a77a6d69"
    "a967bd8d973cf7b96232a3957073ec4681fe61ccf38ad237c7d175cc4d42b46e725c9566b58b87d71729b870b3a2191029b3dbd0"
    "e2a22fde686d0927a3703915a8f0b02e2b05684a34d644e1de4a5607a24f368334d6af0fdde6e7f5129ee52f9767550ed5e0f603"
    "c984597bfeaaf00f3945ae6905f2f9c409ef95627939e1dcd072985e368108bab688e8dece234375a7b9970b"
)
_MILAN_ARK_MODULUS = (
    "d0b779d9124e75e88996a2b625db15983ec592dba8b56c17d5f3605b8d5763d5f3d471214949a12f3f42bbd0c7465be02523716d"
    "e618b2725fbf28f1d4c7d4d15e6d90a894d447ac345b5ad644c0d2cccd8ac75873d8acaa4ee65d3e7e29f1916df73857ff734487"
    "04f2394737ad52d63bbc5fddfee9dc4352b1b64b3c6a278061ab2626503aee3d72525f8bd4734d4fee3f7c329a8e4bde6b391746"
    "1de239d8d6b3e66d81f8efaf8ec0b4eb4777ee363d2c57ae38fe0c7ab8bcaa07e2d92e642aa83f685e9a3edb80650551eeedca15"
    "85cfe7d5e6260b5ca20d398262344ff3a2b4b86ecd5be965c2e9874a1d87fd483d7ab1dfe3278c3f7b03b7d7a6a19dff2f0ac57e"
    "e392c4c4cc03a06ca01e6a6de59bedf228871360c96c44c5cf72335b22f9ac072903fffc529e2bacb870648279443445b1d5471b"
    "410aecfa054392e54f86c9f321136062f338f18fbb2c6889627ae613cc5cadec5e901c6bbdad95f53250aa7377439de4b79be242"
    "2dfe8027e69300b4174b62ac865b2e45cfacfc3367433d78dc6123249bda7a497e09eacf9e48d2edf7c21e2bd1935079319fc34d"
    "cc054b72bb319eb0691cc3e968a8c6aad6a478b6319b3d8c42be90aaefe3a0a420a830d8addae2e8f4cd7c7c7cf5d2538c4fc9d6"
    "014bd1645ced7970a6fbb3c77583e5990c14c372ef7a727f20b5e840f1df6e41f40b23df865d635a124565ab"
)
_MILAN_ASK_MODULUS = (
    "9d4d9daeb3537db84d4089657fe5b6cbe44e09b4b321dd5a2997edd93f738d940ece319c725d7b8b598829697b353701d15617b7"
    "7271652cce663b232cd54010dd8c1a3f5389e74bf907b02995f4266404b988e6f962a4b0bb7181d2e9f44ec464dc0d0ea575af4a"
    "913f9b41f0e5a4c906c874b7aee1a0b3ee3fd2975164072b5ebfdb1b146cededcc278f38bd9bb9e8aac93eb91541a77f889f7e50"
    "3dd723f187e51269c704dbee5032612c224c5bc28e8cfebef8f85bb378828ad25c00d12d5b8a93345a0a5b708795b7120a34ccf0"
    "ab0d6d4c7703c7a4e4454b8d9587d69b7d1374dfa51e97c9f40a9d8ea497968420fc1d5b778561aa8214fac8a3da504fa5ae0d23"
    "f82426096d99de28a21b663cd7909b773501b7d84ba46089816fd482926f7e7d2e4b64583da23cee6cc5f7f8d901a125c8ece3ef"
    "9c73318eea7d9b0e6c7ba41457b1aaa420364cdca9a259ae43e7006b157b26a1c4f1d97da567fe6376ab6fef628850b016de2502"
    "5270e43d024d14c2d58e585850c10ab03fbc69e64e7a86f02fa38d4012edc8e347cab838f8720e62513e7682fd91b9b8fd0ad33e"
    "86a0eff7b9e9fdc2ab210ae1de80b4e939e1c42512ab405af83d523054e074f9e6cee45828c8ec38de7c850f950a043c4407804a"
    "a3fd2e0222872d1bef80b6ce45b53c280448b35128a848e617c52dae64165768548f0ceac2f1c57a2f2b3f13"
)
_GENOA_ARK_MODULUS = (
    "dc277de52fee14eb9122c916f6fcfd543045ebd343405efda1184bfcbd8f5501a12b761d7c4060a45fc98b058506c4ff7d70e1cc"
    "0d35a772e4713ffb2dd8dc45f2978c797ed10abf338759921e900e851e2b33412c37012830c65a8defdf9372af16c0d439e46305"
    "0a5390009383fde2d2972e9f34a31b7ce1a8721e82e673f2eab06b29fa8ab5073e0f3ec60bc131b888c29569a4fdd3fa19e08f28"
    "89b4abbbddaf26196a58edbb77f47173789433284d7864e83af831fe2528e201a91bad4d0e990452f233b8a71a331f08753a5683"
    "60c5e92c05d0881531f7e7bed26603af01c09356a351383cb25d68f7c189f709a6e045c0d55020f404557dda3fcf47252a7c61b6"
    "3d972492e8f95512a4c106d6909a2e004c698c47e9f62bf7be240854d868fb8c8a4984e91d1fd7e2ad00e79a50364857c9fc2734"
    "9863735bd466221c8e527345a1c966911865dff01053962cf50b1a9f58d3fc48b24fea42a669c0fb2f5e76f84309b386f05da8c4"
    "7191753064ca5ba782b917246622c06ad1f246a2aafecd37c42138132a62371bae412bd1ff1030a925212e6bb8e7ea94b302070f"
    "092c1dcb923a5682d0fb3a9c64cd2b2884de3b5289bce9163a969ef683c7971cfd6a62b9ef873686d52ef4bf0e8e91b69a0bd123"
    "887fee1e0009406c689fbbb443bc60a1111603f7bb25c050c0b83cd07abfb1b46ea9eb31cfbc01592636e787"
)
_GENOA_ASK_MODULUS = (
    "a07261be4e05c309306f4dc031f2f24972525e611a09931345b2e03da8f8a04cda0fdb467f1092c3f9ec0808971d069652dfbe6e"
    "76e324ed394ca4f977e09daf3e3f7e2441a5b85fd31cef875d4efb025304f8f7b82cc39b8f2f119f25e525cc3b8c1dfd0ab0b2b7"
    "a314444f0ff1dd7efd66182316eda734ba0f2dac3cea19efa5fa9f0d323a7f12a043636bddf212da54b992f978c0aa561535192c"
    "87d693cd260bd7dfdc4eb0439aa436cbc936df3365da55baabf06d40ea56195b37116bc11dbfd09dfddfdd2f7e942e07da3743cb"
    "dca7ee4ab24d6ab8582067138aa160946892e958b7331933522593867a44f90e4d1d4c27881d16d8fb94a9ab912b8ea09626aa12"
    "48b1027ce789406c9c9b814ef3cb3580c2edee6ac96460a5040107f68dae47ca5dc806a3b3a6a637d52a4acdb97c357bde6726d1"
    "3249707dee220cb236e53f64bbd0957ad0d889f09b7467ae1dd4f064105e996e0d139ecbee2115f3ecf3f27c6783c38c5ffff8a5"
    "79ed5aa9906c402704bbf64e84e07751f6cd846d8720cb737575d7dffe1674d6d7b2cae9b2b34c28049c21d011c02dd210d02cb1"
    "7bf7dfb69594f1c5f044a1db8065ac7a2238003028ba7b565f28f25291dbdbda6dc1c1f3fc6e7886efe00426fd563849a7049735"
    "a55402b6d6c952875b8b4ed57de9f925152a02f48cdce6d640ecd2006cec1a7a488a0c05a56ea6f45eee6155"
)
_TURIN_ARK_MODULUS = (
    "c1a02b881ec422e55ce19075c03dd87c3c4bfbd7b24bbfa2ce6d098f75bbef63483425a5f018f7c3f243d998e66d1c56748abfe1"
    "df626ab08aa2b5e5a09501d6345d831a9c713c7568ea22838fb6c355e1555253ecae39ef04f964b3498106b1a9af44b64c2377af"
    "bdb0e86508313d978de443447606291525afeecb254e4b0124e70e6d5ca3ae1bd8efaba42d00c25ab16dfcc25a910da2841ad67d"
    "554806a27dbb66e2f8b1326e0bf6b3cfdfe2401c3c9048a5cce97de4089391e6398d21010d66c0aa7664e6a94cee4212286db492"
    "0426d789a134a0c8da9da8b9afb3b801bb8b9d9ea68445d867d4d13624ff27febc2341dad9de721150b8fd9ef1b2e4f7965da8f8"
    "bdfd45b0e095e3b5d100e2ed896299524943d05405cab7a2d5aae8ed25c339f492abdaed1743be4ac3170ca75e604978417c89ef"
    "3c0c2e018e1d130c06a93f28220e1eb0f1f012c98286161e0c8c4f1bd4787f1f4ed2aea9f066fe1d7953892e3b3fd60d78ea6274"
    "e50acc397f4b53afca10ed48bf0b25cdb84004c5c9da3f883fca51dbc54d1943d1cae400c9192e8590f212c319ce816495ec75de"
    "d97f67b8516ded23fd6887fdaddb73addf3ca14dcbf98036c006ed0b8d57bdf2e4674b5e523302bffe526df5ee41a8abe0001912"
    "a0005ff81e1516d3d5117d3282b61a15a23d8b9001af19d5066cd7a516f6d622353653427ce1943c8855a561"
)
_TURIN_ASK_MODULUS = (
    "9ef8391abbf612677d94084a74eeb845753750449be894e6d078737afc753f2c629f162a24bdf6f6a4c93345e6768ccb61beebb0"
    "7c60339236a54d7c33c81e72dda937f601d8b435fdb22adfb4cf0db83bca6d0c37a2a467a684471017d2fa18b5d0f23718c30148"
    "e946909ed4571c01ebff12cda7fc5cf51b54e60b65dea5342a68aa66b7a9a70d64821c256c42863481289b79a1ba76833a3a2354"
    "09b297682eca1c7e5bffde810f50c9f3833e247a8f0a51611ea509c33285e50c63e30816019ccaf143e188d1a3ac5ebe4c176514"
    "6752cc4ab0d633ab0931ddb98c8b2bee4e437388c384bebd978e568c496a34c859db2a60fd832dcd0790bd2a58eba610eaeb736f"
    "f80de1134a10743322291f4e6449a97240dd9e3793faa6d381f3885d74275b24f11ea670fe16a41aa75ba4c372bcb81720781480"
    "176debe94b53f1473987b32c597dcca198841dc4a40d043c21e75393b08b8ec2ba4bb6ff95f2aa7d889184a806911bec11dfcc0c"
    "d72e98764a220cdab09c206a0cd2820894a3d8d7a771169bce1fab2c4d5f34aeb4f07ba83e4ffd42c007eabd420bebcc2f179de6"
    "8b3f430dac784cf3451e8e6b014c892d32f16859521e9580cb75ca22d1e303e4345c71fb20ad8698ea1ffefea7fdb6083e997d3d"
    "509a6e48f445dfca32aa734d14c979bffb562e052c0a13d4e8d0900b5ed06aaafc9aedb29f2cae1c4b392555"
)
AMD_ROOTS: tuple[Root, ...] = (
    Root(
        product="Naples",
        ark=CaKey(
            key_id=bytes.fromhex("1bb987c359494606b174945601c9ea5b"),
            modulus=int(_NAPLES_ARK_MODULUS, 16),
            modulus_bits=2048,
            certificate_sha256="dedabca561e1dece8cc00b7bda864cf5f20b95017864408cfe18eaee0dce24b9",
        ),
        ask=CaKey(
            key_id=bytes.fromhex("e139970cfc464377ae61b289e2f9e96e"),
            modulus=int(_NAPLES_ASK_MODULUS, 16),
            modulus_bits=2048,
            certificate_sha256="c6f30cf923f526c3bcd5c8c221db51e0db65911782f046de17a6603131cdfd7f",
        ),
    ),
    Root(
        product="Rome",
        ark=CaKey(
            key_id=bytes.fromhex("e6002122fb58419399d15fee7b131351"),
            modulus=int(_ROME_ARK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256="865977b268c16d5b27772b00aaefb4e737ba9499e818ed8e9f65b0cecefbc529",
        ),
        ask=CaKey(
            key_id=bytes.fromhex("c6cbcf145b3146f498e40ecb4ad4fded"),
            modulus=int(_ROME_ASK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256="7754a69407d25540fe3a695be6b02c58a53bffd12594f5c30793d6cb62875706",
        ),
    ),
    Root(
        product="Milan",
        ark=CaKey(
            key_id=bytes.fromhex("94c38e4177d0479292a7ae671d083fb6"),
            modulus=int(_MILAN_ARK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256="1246469862b78a7a8625579b0378d1f8e975eb8b82a1623b579d7968a5969888",
        ),
        ask=CaKey(
            key_id=bytes.fromhex("73478c05cc174bfeb06e718fa75dc3c8"),
            modulus=int(_MILAN_ASK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256="c7c73765561c58003a3d09adb2c76993027dd3a1ec4e9be876024c035e015cec",
        ),
    ),
    Root(
        product="Genoa",
        ark=CaKey(
            key_id=bytes.fromhex("9f9d4a8fe761456599f6946c4c010f3a"),
            modulus=int(_GENOA_ARK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256=None,
        ),
        ask=CaKey(
            key_id=None,
            modulus=int(_GENOA_ASK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256=None,
        ),
    ),
    Root(
        product="Turin",
        ark=CaKey(
            key_id=bytes.fromhex("d05c3a8bde484904b49552422ceb3942"),
            modulus=int(_TURIN_ARK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256="f6405e5096a6eee1eb7d5df75c49f9b9f7c8357a31c7fff150149d68588a7bf7",
        ),
        ask=CaKey(
            key_id=bytes.fromhex("15051693f7304d65a527b4a7f3f7cb77"),
            modulus=int(_TURIN_ASK_MODULUS, 16),
            modulus_bits=4096,
            certificate_sha256="2ee285477f0d5eb94a69029197f4cf58ca82d8e1b9a276da1ac45b0db3f4be56",
        ),
    ),
)
