"""English."""

from typing import Final

WORDS: Final = {
    # --- the page
    "page.title": "Trust stack",
    "page.heading": "Who has to be trusted?",
    "page.lead": (
        "A workload stands on a stack of layers. Each has an owner who can change what it does. These are the layers "
        "and owners that remain, what is proved about them, and what is not protected."
    ),
    "page.stacks": "The stacks",
    "page.around": "Beside every stack",
    "page.around-lead": "What no stack shows, and what proof does not change.",
    "page.details": "Row by row",
    "page.details-lead": "Why each row is what it is, what that rests on, and which versions are known.",
    "page.checks": "Checks",
    "page.checks-lead": "Every rule that was judged. The rows above name the ones that they rest on.",
    "page.key": "How to read it",
    "page.owners": "Owners",
    "page.statuses": "Statuses",
    "page.skip": "Skip to the stacks",
    "page.top": "Back to the picture",
    "page.made": "Made by Enarx {version} on {time}.",
    "page.honest": (
        "“Proved” means that evidence was verified up to a root key of the silicon vendor and fits what the tenant "
        "expects. It says what runs, not that it is good."
    ),
    "page.evidence": "Evidence",
    "page.versions": "Versions and settings",
    "page.checked-by": "Checked by",
    "page.subject": "Looked at",
    "page.judged": "Judged as of",
    "page.of-layers": "of {total} layers have\nto be trusted",
    "page.count": "{count} {status}",
    "page.owners-remain": "Owners that remain",
    "page.owners-gone": "no longer",
    "page.none": "none",
    "column.check": "Check",
    "column.expected": "Expected",
    "column.seen": "Seen",
    "column.source": "Expectation from",
    "column.result": "Result",
    "rule.pass": "pass",
    "rule.fail": "fail",
    "separator": ", ",
    "titled": "{title} ({basis})",
    "sourced": "{fact} ({source})",
    "colon": ": ",
    # --- kinds
    "kind.vm": "Cloud virtual machine",
    "kind.container": "Cloud container",
    "kind.host": "Program on this machine",
    "kind.keep-process": "Process Keep (SIMULATED)",
    "kind.keep-vm": "VM Keep without a TEE (SIMULATED)",
    "kind.keep-simulated": "Keep on a SIMULATED processor",
    "kind.keep-snp": "Keep on AMD SEV-SNP",
    "kind.keep-sev": "Keep on AMD SEV",
    "kind.keep-sev-es": "Keep on AMD SEV-ES",
    "kind.keep-tdx": "Keep on Intel TDX",
    "kind.keep-unknown": "Said to be a Keep",
    "basis.design": "as it is built",
    "basis.evidence": "from its evidence",
    "basis.host": "by its own account",
    "about.vm": "The guest is yours. Everything beneath it can read it.",
    "about.container": "Only the application is yours. The kernel is shared.",
    "about.host": "Everything here can read the program, and nothing proves what it is.",
    "about.keep-process": "For development: no isolation from the host.",
    "about.keep-vm": "The image of a real Keep, without the processor that would protect it.",
    "about.keep-simulated": "For development: no isolation from the host.",
    "about.keep-snp": "The host carries bytes. It can stop the Keep, not read it.",
    "about.keep-sev": "Encrypted, and judged before it starts, but not protected against changes.",
    "about.keep-sev-es": "Encrypted with its registers, but not protected against changes.",
    "about.keep-tdx": "Launched, and not verified: this version cannot read TDX quotes.",
    "about.exposed": "Genuine hardware, and a guest whose memory the host can reach all the same.",
    "about.unestablished": "Genuine hardware. Which software runs on it is not established.",
    "about.keep-unknown": "What it showed was not accepted.",
    # --- layers
    "layer.application": "Application",
    "layer.middleware": "Middleware",
    "layer.keep": "Keep",
    "layer.userland": "Userland or image",
    "layer.container-engine": "Container engine",
    "layer.guest-os": "Guest OS",
    "layer.hypervisor": "Hypervisor",
    "layer.host-os": "Host OS",
    "layer.boot-loader": "Boot loader",
    "layer.bios": "BIOS/EFI",
    "layer.firmware": "CPU firmware",
    "layer.cpu": "CPU",
    "around.physical-operator": "Physical operator",
    "around.side-channels": "Side channels",
    "around.verifier": "The verifier",
    "around.registry": "The registry",
    "around.clock": "The clock",
    "around.denial-of-service": "Denial of service",
    # --- owners
    "owner.tenant": "Tenant",
    "owner.middleware": "Middleware",
    "owner.os-vendor": "OS vendor",
    "owner.cloud-provider": "Cloud provider",
    "owner.oem": "OEM",
    "owner.silicon-vendor": "Silicon vendor",
    "owner.third-party": "Third party",
    "owner-about.tenant": "you: the workload and its data are yours",
    "owner-about.middleware": "in a Keep this open project, else whoever made yours",
    "owner-about.os-vendor": "the distribution: kernel, libraries, tools",
    "owner-about.cloud-provider": "who runs the machine, and the staff who can log in to it",
    "owner-about.oem": "who built the machine and its firmware",
    "owner-about.silicon-vendor": "who made the processor and signs for it",
    "owner-about.third-party": "image makers and operators of registries",
    # --- statuses
    "status.proved": "proved",
    "status.assumed": "assumed",
    "status.unknown": "unknown",
    "status.not-protected": "not protected",
    "status.out": "out of the stack",
    "status.absent": "not there",
    "status-about.proved": "Must be trusted; evidence that was verified says what it is.",
    "status-about.assumed": "Must be trusted, and nothing proves it.",
    "status-about.unknown": "Not established. Do not rely on it.",
    "status-about.not-protected": "A known way to do harm that nothing here stops.",
    "status-about.out": "Can no longer read or change the workload.",
    "status-about.absent": "This stack has no such layer.",
    # --- verdicts and notes
    "verdict.accepted": "ACCEPTED by the policy",
    "verdict.authentic": "AUTHENTIC, judged by no policy",
    "verdict.refused": "REFUSED",
    "note.design": "Nothing was looked at: this is how it is built, and what its evidence would prove.",
    "note.never-run": "No Keep of this project has been run on this hardware yet.",
    "note.simulated": (
        "SIMULATED: the secure processor is software. Nothing is proved about the host, and whoever controls it can "
        "read and change this Keep."
    ),
    "note.says-simulated": "SIMULATED by its own word: the evidence names a simulator, whose root nobody has accepted.",
    "note.host": (
        "Versions are what this machine says of itself. Nothing proves them, and whoever controls it can change them."
    ),
    "note.no-policy": (
        "No policy was given: the evidence is genuine, but nobody has said which guest and workload to expect."
    ),
    "note.refused": "Nothing is established about any layer.",
    "note.bundle": "Judged by the policy, manifest, CA and time in the bundle, which its maker chose. --policy judges it by yours.",
    "note.platform": "Certificates of a platform say which machine it is. They prove nothing about a launch.",
    "note.debug": "WARNING: this guest may be debugged: the host can read and change its memory.",
    "note.sharing": "WARNING: the host may run other guests with this guest's memory key.",
    "note.migration": "WARNING: a migration agent may take this guest's state elsewhere, and nobody has verified it.",
    # --- facts
    "fact.more": "and more (count)",
    "fact.digests": "components with a digest of their own",
    "fact.snp-firmware": "SEV-SNP firmware",
    "fact.signer": "signed by the key",
    "fact.root": "root of trust",
    "fact.product": "product",
    "fact.cpuid": "family / model / stepping",
    "fact.workload": "workload",
    "fact.media-type": "type of workload",
    "fact.config": "Enarx.toml",
    "fact.steward": "Steward",
    "fact.steward-ca": "the Steward's CA",
    "fact.policy": "policy",
    "fact.verifier": "judged by",
    "fact.revocation": "revocation checked",
    "fact.not-after": "holds until",
    "fact.processor": "processor",
    "fact.microcode": "microcode",
    "fact.kernel": "Linux kernel",
    "fact.distribution": "distribution",
    "fact.hypervisor": "hypervisor",
    "fact.bios": "BIOS",
    "fact.board": "machine",
    "fact.boot": "booted by",
    "fact.secure-boot": "Secure Boot",
    "fact.python": "Python",
    "fact.api": "SEV API of the firmware",
    "fact.launch-digest": "launch digest",
    "fact.approved-manifest": "approved manifest",
    "fact.approval": "approval",
    "fact.platform-owner": "owner of the platform (OCA)",
    "fact.pek": "platform key (PEK)",
    "tcb.bootloader": "boot loader of the secure processor",
    "tcb.tee": "operating system of the secure processor",
    "tcb.snp": "SEV-SNP firmware, security version",
    "tcb.microcode": "microcode, security version",
    "tcb.fmc": "first mutable code (FMC)",
    "platform.alias_check_complete": "checked for aliased memory",
    "platform.ecc": "memory with ECC",
    "platform.tsme": "all memory encrypted (TSME)",
    "platform.smt": "SMT is on",
    "platform.ciphertext_hiding": "ciphertext hidden from the host",
    "platform.rapl_disabled": "power meters (RAPL) off",
    # --- whose word a fact is
    "source.evidence": "evidence",
    "source.simulated": "SIMULATED evidence",
    "source.manifest": "manifest",
    "source.sbom": "SBOM",
    "source.host": "claimed by the host",
    "source.verifier": "verifier",
    # --- reasons: classic stacks
    "absent": "There is nothing of this kind under the workload.",
    "vm.application": "Your own code. Nothing lets anybody else see which version of it runs.",
    "vm.middleware": "Runtimes, servers and agents: each can read all that the application holds.",
    "vm.userland": "The distribution's tools and libraries, and what the provider's image adds to them.",
    "vm.guest-os": "It can read every process. That the kernel you chose is the one that booted is the provider's word.",
    "vm.hypervisor": "It can read and change the guest's memory and registers at any moment, unseen.",
    "vm.host-os": "It runs the hypervisor and emulates the devices. Its administrators can do what it can.",
    "vm.boot-loader": "It decides what the host boots. Secure Boot shows that to the provider, not to you.",
    "vm.bios": "It starts first, stays resident beneath every kernel, and is updated when its maker and provider like.",
    "vm.firmware": "Microcode and the secure processor reach all memory. A guest is not shown their real versions.",
    "vm.cpu": "That it does what its manual says, and nothing else, only its maker can check.",
    "container.userland": "Base layers made by others, often pulled by a name that can be moved to other contents.",
    "container.container-engine": "It makes the namespaces and hands in the secrets. Root there is root in each container.",
    "container.guest-os": "The node's kernel, which all containers on it share. One flaw in it opens them all.",
    # --- reasons: this machine
    "host.application": "Whatever is started here.",
    "host.middleware": "Interpreters and runtimes that are installed here.",
    "host.userland": "The distribution that is installed here.",
    "host.container-engine": "The program runs in a container: whoever controls its engine controls the program.",
    "host.guest-os": "The kernel that this system runs on.",
    "host.hypervisor": "This machine is itself a guest: what runs it can read and change everything in it.",
    "host.host-os": "The system that runs the machine.",
    "host.boot-loader": "What started the kernel.",
    "host.bios": "What started the machine, and still runs beneath its kernel.",
    "host.firmware": "Code inside the processor; its version is what the kernel was told.",
    "host.cpu": "What the processor calls itself. A hypervisor can make it call itself anything.",
    # --- reasons: simulated Keeps
    "simulated.application": "Evidence names this workload's manifest; but whoever controls the machine can make such "
    "evidence for anything.",
    "simulated.middleware": "Its code was measured by software on the same machine: that finds mistakes, not attackers.",
    "simulated.userland": "Part of the image, measured by software on the same machine: nothing is proved.",
    "process.userland": "The machine's own interpreter and libraries, of which only a part is measured at all.",
    "either.userland": "The machine's own, or the image's. Simulated evidence proves neither.",
    "simulated.guest-os": "The image's own kernel, measured by software on the same machine: nothing is proved.",
    "process.guest-os": "A process Keep runs on the host's kernel.",
    "either.guest-os": "A process Keep runs on the host's kernel, a VM Keep on its own. Simulated evidence proves neither.",
    "simulated.hypervisor": "It can read and change everything in the Keep. Nothing is proved about it.",
    "simulated.host-os": "It can read and change everything in the Keep. Nothing is proved about it.",
    "simulated.boot-loader": "It chooses the host's kernel. Nothing is proved about it.",
    "simulated.bios": "It runs beneath the host's kernel. Nothing is proved about it.",
    "simulated.firmware": "The versions in the evidence are the simulator's invention and say nothing of this machine.",
    "simulated.cpu": "Nothing vouches for it. The root of this evidence is a file on the machine that made it.",
    # --- reasons: SEV-SNP
    "snp.application": (
        "Exactly this workload, its configuration and its limits: the digest of their manifest was fixed at the launch "
        "and is signed. That its code is good remains its owner's business."
    ),
    "snp.application-by-steward": (
        "The digest of the manifest was fixed at the launch and is signed. Which workload that is, the Steward has "
        "judged, whose CA is trusted here."
    ),
    "snp.middleware": (
        "Measured before it ran, and the measurement is one that is expected. The key of its connections is in the "
        "evidence, so nobody else can answer in its place."
    ),
    "snp.middleware-alone": (
        "Measured before it ran, and the measurement is one that is expected. Whose key the evidence is over was not "
        "looked at: a report alone does not say who is at the other end of a connection."
    ),
    "snp.userland": "Interpreter and libraries are part of the measured image, to the last byte.",
    "snp.guest-os": "Kernel, initial RAM disk, command line and the guest's own firmware are in the measurement.",
    "snp.hypervisor": (
        "Memory and registers are encrypted with a key that it never has, and the processor refuses it every write to "
        "the Keep's pages. It can only stop or starve the Keep."
    ),
    "snp.host-os": (
        "It carries encrypted bytes: a Keep has no network stack, and TLS ends inside. It can drop and delay them."
    ),
    "snp.boot-loader": "It decides what the host boots, and nothing that the host boots can reach the Keep's memory.",
    "snp.bios": (
        "The secure processor checks the settings that it depends on before it protects a guest. System management "
        "mode sees ciphertext."
    ),
    "snp.firmware": (
        "Its versions are signed, with a key that only firmware of at least these versions can derive. That they have "
        "no flaw is assumed: a policy's minimum is what helps against known ones."
    ),
    "snp.cpu": (
        "The root of all proof here. The vendor's key vouches that it is genuine; that the silicon does what it should, "
        "and that the vendor's keys are safe, nobody else can check."
    ),
    "unstated.application": "Evidence names the digest of a manifest, but nobody has said which one to expect.",
    "unstated.measured": "Evidence states a measurement, but nobody has said which to expect: it may be any software.",
    "unstated.beneath": "Kept out only if the guest is a Keep, and that is not established.",
    "debug.software": "What was launched is proved; but the guest may be debugged, so the host may have changed it since.",
    "debug.beneath": "The guest may be debugged: with the firmware's help the host reads and changes its memory.",
    "migration.software": "What was launched is proved; but a migration agent, which nobody has verified, may hold its state.",
    "migration.beneath": "A migration agent may take the guest's state elsewhere, and nobody has verified it.",
    "sharing.software": "What was launched is proved; but another guest may be given its key, and change it since.",
    "sharing.beneath": "The host may run other guests with this guest's memory key, and so read its memory.",
    # --- reasons: SEV, SEV-ES, TDX
    "sev.application": (
        "The tenant approves one manifest while the launch happens, and its digest is in the secret that only this "
        "launch is given."
    ),
    "sev.middleware": "Measured before it runs. It is given a secret, and so its identity, only if the measurement fits.",
    "sev.userland": "Interpreter and libraries are part of the image that is measured before it runs.",
    "sev.guest-os": "Kernel, initial RAM disk, command line and the guest's firmware are measured before it runs.",
    "sev.beneath": (
        "Memory is encrypted, but the host can change and replay it, and sees registers whenever the guest stops. "
        "Published attacks make that into reading memory."
    ),
    "sev-es.beneath": (
        "Memory and registers are encrypted, but the host can move and replay pages. Published attacks make that into "
        "reading memory."
    ),
    "sev.firmware": "It signs for its version in the launch measurement. That this version has no flaw is assumed.",
    "sev.cpu": (
        "The root of all proof here. The tenant's approver verified at the launch that the vendor vouches for it; that "
        "the silicon does what it should, and that the vendor's keys are safe, nobody else can check."
    ),
    "sev.no-launch": "Certificates of a platform say nothing about a launch.",
    "tdx.unverified": "This version has no verifier for TDX quotes, so it can prove nothing about such a Keep.",
    "tdx.beneath": (
        "Intel's TDX module is built to keep it out. The quote that would prove that is not verified by this version."
    ),
    "refused": "What was shown was not accepted, so nothing is established.",
    # --- reasons: beside every stack
    "operator.plain": (
        "Memory is read with a debug port, a device on the bus or a frozen module. Whoever opens the machine owns it."
    ),
    "operator.tee": (
        "Published attacks with aliased modules or an interposer on the memory bus (BadRAM, Battering RAM, TEE.fail) "
        "defeat current TEEs for the price of a laptop. Evidence does not say who can open the machine."
    ),
    "side-channels.plain": "Neighbours on the same hardware watch caches and page faults. Defences are the provider's.",
    "side-channels.tee": (
        "Caches, branch predictors, page faults, ciphertext, power and timing still speak, and the host is the best "
        "placed listener. Sizes, times and peers of network traffic are visible to it."
    ),
    "verifier.none": "There is none, for there is nothing to verify.",
    "verifier.tenant": (
        "The program, machine and policy that judge evidence are the tenant's to protect. A wrong policy accepts a "
        "wrong Keep."
    ),
    "registry.plain": "What is pulled by name is whatever the registry says it is today.",
    "registry.checked": (
        "The Keep checks the digest of what it is handed. A registry can withhold, or offer something old that policy "
        "still accepts."
    ),
    "registry.simulated": "The Keep checks the digest of what it is handed; but here the host can change that check.",
    "registry.unknown": "Without proof of the workload, what came from the registry is as unknown.",
    "clock.plain": "Time comes from the hypervisor or the network, and logs and certificates believe it.",
    "clock.keep": (
        "A Keep's time comes from its host, the verifier's is its own. Whoever sets it back revives what has expired."
    ),
    "availability.plain": "The provider can stop it at any moment. A contract forbids that; no mechanism does.",
    "availability.keep": (
        "The host may refuse to start the Keep, starve it, cut it off or stop it at any moment. No TEE prevents that."
    ),
    # --- summaries
    "summary.remain": "{count} of {total} layers have to be trusted: {proved} proved, {assumed} assumed, {unknown} unknown.",
    "summary.owners": "Owners that remain: {owners}.",
    "summary.gone": "No longer: {owners}.",
    "summary.more": "`enarx trust` shows the whole stack, with reasons; `--html` makes a page of it.",
}
"""By key. What stands in braces is filled in."""
