"""Every element and attribute of BPMN 2.0 (BPMN20.xsd, Semantic.xsd), where it stands, and what it does here.

Data only: engine.lint.standard applies it, docs/supported-elements.md explains it, and a test compares all three with
the schema. What is in none of the rows is refused.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from engine.errors import N_

RUNS, DRAWN, IDLE, REFUSED = "runs", "drawn", "idle", "refused"
"""Executed; documentation or drawing; without effect although somebody might expect one (a warning); refused."""

_GROUPS: Mapping[str, str] = {
    "SCOPE": "process subProcess transaction",
    "ACTIVITY": "businessRuleTask callActivity manualTask receiveTask scriptTask sendTask serviceTask subProcess "
    "transaction userTask",
    "GATEWAY": "eventBasedGateway exclusiveGateway inclusiveGateway parallelGateway",
    "CATCH": "boundaryEvent intermediateCatchEvent startEvent",
    "THROW": "endEvent intermediateThrowEvent",
    "NODE": "ACTIVITY GATEWAY CATCH THROW",
    "POOLS": "choreography collaboration globalChoreographyTask globalConversation",
    "TALK": "callConversation conversation subConversation",
    "ROLE": "humanPerformer performer potentialOwner resourceRole",
    "WORK": "completionQuantity default isForCompensation name startQuantity",
    "FORMAL": "evaluatesToTypeRef language",
    "ITEM": "dataInput dataObject dataObjectReference dataOutput dataStore dataStoreReference inputDataItem "
    "outputDataItem property",
}

_ROWS: Mapping[str, str] = {
    RUNS: """
        definitions < / : exporter exporterVersion expressionLanguage name targetNamespace typeLanguage
        process < definitions : definitionalCollaborationRef isClosed isExecutable name processType
        startEvent < SCOPE : isInterrupting name parallelMultiple
        intermediateCatchEvent < SCOPE : name parallelMultiple
        intermediateThrowEvent endEvent < SCOPE : name
        boundaryEvent < SCOPE : attachedToRef cancelActivity name parallelMultiple
        cancelEventDefinition terminateEventDefinition conditionalEventDefinition timerEventDefinition < CATCH THROW :
        errorEventDefinition < CATCH THROW : errorRef
        escalationEventDefinition < CATCH THROW : escalationRef
        messageEventDefinition < CATCH THROW : messageRef
        signalEventDefinition < CATCH THROW : signalRef
        linkEventDefinition < CATCH THROW : name
        condition < conditionalEventDefinition : FORMAL
        timeCycle timeDate timeDuration < timerEventDefinition : FORMAL
        manualTask < SCOPE : WORK
        userTask businessRuleTask < SCOPE : WORK implementation
        serviceTask < SCOPE : WORK implementation operationRef
        sendTask < SCOPE : WORK implementation messageRef operationRef
        receiveTask < SCOPE : WORK implementation instantiate messageRef operationRef
        scriptTask < SCOPE : WORK scriptFormat
        script < scriptTask :
        callActivity < SCOPE : WORK calledElement
        subProcess < SCOPE : WORK triggeredByEvent
        transaction < SCOPE : WORK method triggeredByEvent
        exclusiveGateway inclusiveGateway < SCOPE : default gatewayDirection name
        parallelGateway < SCOPE : gatewayDirection name
        eventBasedGateway < SCOPE : eventGatewayType gatewayDirection instantiate name
        sequenceFlow < SCOPE : isImmediate name sourceRef targetRef
        conditionExpression < sequenceFlow : FORMAL
        standardLoopCharacteristics < ACTIVITY : loopMaximum testBefore
        loopCondition < standardLoopCharacteristics : FORMAL
        multiInstanceLoopCharacteristics < ACTIVITY : behavior isSequential noneBehaviorEventRef oneBehaviorEventRef
        loopCardinality completionCondition < multiInstanceLoopCharacteristics : FORMAL
        loopDataInputRef loopDataOutputRef < multiInstanceLoopCharacteristics :
        inputDataItem outputDataItem < multiInstanceLoopCharacteristics : isCollection itemSubjectRef name
        laneSet < SCOPE : name
        childLaneSet < lane : name
        lane < childLaneSet laneSet : name partitionElementRef
        flowNodeRef < lane :
        dataObject < SCOPE : isCollection itemSubjectRef name
        dataObjectReference < SCOPE : dataObjectRef itemSubjectRef name
        dataInputAssociation < ACTIVITY THROW :
        dataOutputAssociation < ACTIVITY CATCH :
        sourceRef targetRef < dataInputAssociation dataOutputAssociation :
        ioSpecification < ACTIVITY process :
        dataInput dataOutput < ioSpecification : isCollection itemSubjectRef name
        inputSet outputSet < ioSpecification : name
        dataInputRefs < inputSet :
        dataOutputRefs < outputSet :
        error < definitions : errorCode name structureRef
        escalation < definitions : escalationCode name structureRef
        message < definitions : itemRef name
        signal < definitions : name structureRef
        correlationProperty < definitions : name type
        correlationPropertyRetrievalExpression < correlationProperty : messageRef
        messagePath < correlationPropertyRetrievalExpression : FORMAL
        formalExpression < correlationPropertyRetrievalExpression : FORMAL
        correlationKey < POOLS TALK : name
        correlationSubscription < process : correlationKeyRef
        correlationPropertyBinding < correlationSubscription : correlationPropertyRef
        dataPath < correlationPropertyBinding : FORMAL
        correlationPropertyRef < correlationKey :
        extensionElements < * :
    """,
    DRAWN: """
        documentation < * : textFormat
        collaboration < definitions : isClosed name
        participant < POOLS : name processRef
        participantMultiplicity < participant : maximum minimum
        messageFlow < POOLS : messageRef name sourceRef targetRef
        association < SCOPE POOLS : associationDirection sourceRef targetRef
        group < SCOPE POOLS : categoryValueRef
        textAnnotation < SCOPE POOLS : textFormat
        text < textAnnotation :
        category < definitions : name
        categoryValue < category : value
        categoryValueRef < NODE sequenceFlow dataObject dataObjectReference dataStoreReference :
        incoming outgoing < NODE :
        auditing monitoring < process NODE sequenceFlow dataObject dataObjectReference dataStoreReference :
        property < process ACTIVITY CATCH THROW : itemSubjectRef name
        itemDefinition < definitions : isCollection itemKind structureRef
        dataState < ITEM : name
        dataStore < definitions : capacity isUnlimited itemSubjectRef name
        dataStoreReference < SCOPE : dataStoreRef itemSubjectRef name
        partitionElement < lane :
        supports < process :
        relationship < definitions : direction type
        source target < linkEventDefinition relationship :
        dataInput < THROW : isCollection itemSubjectRef name
        dataOutput < CATCH : isCollection itemSubjectRef name
        inputSet < THROW : name
        outputSet < CATCH : name
        partnerEntity partnerRole < definitions : name
        participantRef < partnerEntity partnerRole TALK :
    """,
    IDLE: """
        import < definitions : importType location namespace
        cancelEventDefinition terminateEventDefinition conditionalEventDefinition timerEventDefinition < definitions :
        errorEventDefinition < definitions : errorRef
        escalationEventDefinition < definitions : escalationRef
        messageEventDefinition < definitions : messageRef
        signalEventDefinition < definitions : signalRef
        compensateEventDefinition < definitions : activityRef waitForCompletion
        linkEventDefinition < definitions : name
        extension < definitions : definition mustUnderstand
        interface < definitions : implementationRef name
        operation < interface : implementationRef name
        inMessageRef outMessageRef errorRef < operation :
        operationRef < messageEventDefinition :
        interfaceRef endPointRef < participant :
        endPoint < definitions :
        supportedInterfaceRef < process :
        ioBinding < process : inputDataRef operationRef outputDataRef
        resource < definitions : name
        resourceParameter < resource : isRequired name type
        rendering < userTask :
        choreography < definitions : isClosed name
        globalChoreographyTask < definitions : initiatingParticipantRef isClosed name
        globalConversation < definitions : isClosed name
        choreographyRef < POOLS :
        conversation subConversation < POOLS subConversation : name
        callConversation < POOLS subConversation : calledCollaborationRef name
        conversationAssociation < POOLS : innerConversationNodeRef outerConversationNodeRef
        conversationLink < POOLS : name sourceRef targetRef
        messageFlowAssociation < POOLS : innerMessageFlowRef outerMessageFlowRef
        messageFlowRef < TALK :
        participantAssociation < POOLS callConversation :
        innerParticipantRef outerParticipantRef < participantAssociation :
    """,
    REFUSED: """
        task < SCOPE : WORK
        adHocSubProcess < SCOPE : WORK cancelRemainingInstances ordering triggeredByEvent
        completionCondition < adHocSubProcess : FORMAL
        complexGateway < SCOPE : default gatewayDirection name
        activationCondition < complexGateway : FORMAL
        compensateEventDefinition < CATCH THROW : activityRef waitForCompletion
        eventDefinitionRef < CATCH THROW :
        implicitThrowEvent < SCOPE : name
        event < complexBehaviorDefinition : name
        complexBehaviorDefinition < multiInstanceLoopCharacteristics :
        condition < complexBehaviorDefinition : FORMAL
        humanPerformer performer potentialOwner resourceRole < ACTIVITY process : name
        resourceRef resourceAssignmentExpression < ROLE :
        resourceParameterBinding < ROLE : parameterRef
        expression < resourceAssignmentExpression resourceParameterBinding :
        formalExpression < resourceAssignmentExpression resourceParameterBinding : FORMAL
        assignment transformation < dataInputAssociation dataOutputAssociation : FORMAL
        from to < assignment : FORMAL
        optionalInputRefs outputSetRefs whileExecutingInputRefs < inputSet :
        inputSetRefs optionalOutputRefs whileExecutingOutputRefs < outputSet :
        choreographyTask subChoreography < SCOPE : initiatingParticipantRef loopType name
        callChoreography < SCOPE : calledChoreographyRef initiatingParticipantRef loopType name
        globalTask globalManualTask < definitions : name
        globalBusinessRuleTask globalUserTask < definitions : implementation name
        globalScriptTask < definitions : name scriptLanguage
        script < globalScriptTask :
        callableElement < definitions : name
        dataAssociation < ACTIVITY :
    """,
}  # fmt: skip

ABSTRACT = frozenset({
    "activity", "artifact", "baseElement", "baseElementWithMixedContent", "catchEvent", "choreographyActivity",
    "conversationNode", "event", "eventDefinition", "flowElement", "flowNode", "gateway", "loopCharacteristics",
    "rootElement", "throwEvent",
})  # fmt: skip
"""Names of kinds in the schema; no document may contain such an element."""

RULES: Mapping[str, str] = {
    "task": "abstract-task",
    "compensateEventDefinition": "unsupported-event",
    "eventDefinitionRef": "multiple-event",
}
"""Who refuses what is refused, where it is not `unsupported`."""

INSTEAD: Mapping[str, str] = {
    "task": N_("say what kind of task this is: user, script, service, …"),
    "adHocSubProcess": N_("draw the tasks behind a parallel gateway, or each behind a non-interrupting message event"),
    "complexGateway": N_("draw an inclusive gateway, or a multi-instance activity with a completion condition"),
    "compensateEventDefinition": N_("draw the steps that undo the work behind an error or cancel boundary event"),
    "eventDefinitionRef": N_("write the event definition inside the event"),
    "implicitThrowEvent": N_("draw an intermediate throw event"),
    "complexBehaviorDefinition": N_("end the activity by its completionCondition and throw the event behind it"),
    "humanPerformer": N_(
        "name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane"
    ),
    "performer": N_("name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane"),
    "potentialOwner": N_(
        "name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane"
    ),
    "resourceRole": N_("name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane"),
    "assignment": N_("compute the value in a script task, a preScript or a postScript"),
    "transformation": N_("compute the value in a script task, a preScript or a postScript"),
    "optionalInputRefs": N_("list only what is always there in the input set, or leave out the ioSpecification"),
    "outputSetRefs": N_("one input set and one output set, both complete"),
    "whileExecutingInputRefs": N_("list only what is there at the start in the input set"),
    "inputSetRefs": N_("one input set and one output set, both complete"),
    "optionalOutputRefs": N_("list only what is always there in the output set, or leave out the ioSpecification"),
    "whileExecutingOutputRefs": N_("list only what is there at the end in the output set"),
    "choreographyTask": N_("draw each party's process, with message events between them"),
    "subChoreography": N_("draw each party's process, with message events between them"),
    "callChoreography": N_("draw each party's process, with message events between them"),
    "globalTask": N_("draw the task in a process of its own and call that"),
    "globalManualTask": N_("draw the task in a process of its own and call that"),
    "globalBusinessRuleTask": N_("draw the task in a process of its own and call that"),
    "globalUserTask": N_("draw the task in a process of its own and call that"),
    "globalScriptTask": N_("draw the task in a process of its own and call that"),
    "callableElement": N_("draw a process"),
    "dataAssociation": N_("draw a dataInputAssociation or a dataOutputAssociation"),
}
"""What to draw instead of what is refused; what stands inside goes with it."""

WHY_IDLE: Mapping[str, str] = {
    "import": N_("nothing is read from elsewhere: deploy all files together"),
    "extension": N_("an extension of another tool"),
    "interface": N_("a service task names its operator"),
    "operationRef": N_("a service task names its operator, an event its message"),
    "interfaceRef": N_("a service task names its operator"),
    "endPointRef": N_("a service task names its operator"),
    "endPoint": N_("a service task names its operator"),
    "supportedInterfaceRef": N_("a process is called by its id"),
    "ioBinding": N_("a process is called by its id"),
    "resource": N_("people are named by a task's properties or by its lane"),
    "rendering": N_("a task names its form by the property formJsonSchemaFilename"),
    "choreography": N_("only processes are executed"),
    "globalChoreographyTask": N_("only processes are executed"),
    "globalConversation": N_("only processes are executed"),
    "choreographyRef": N_("only processes are executed"),
    "conversation": N_("messages find an instance by correlationKey and correlationProperty"),
    "subConversation": N_("messages find an instance by correlationKey and correlationProperty"),
    "callConversation": N_("messages find an instance by correlationKey and correlationProperty"),
    "conversationAssociation": N_("only processes are executed"),
    "conversationLink": N_("only processes are executed"),
    "messageFlowAssociation": N_("only processes are executed"),
    "participantAssociation": N_("only processes are executed"),
}
"""Why an idle element does nothing; what stands inside goes with it. Event definitions outside an event have no row."""


class ValueRule(NamedTuple):
    """The only values of an attribute that mean what is executed; without any, the attribute is refused."""

    allowed: tuple[str, ...]
    instead: str


VALUES: Mapping[str, ValueRule] = {
    "startQuantity": ValueRule(("1",), N_("let a parallel gateway wait for the tokens")),
    "completionQuantity": ValueRule(("1",), N_("draw as many flows as tokens shall leave")),
    "instantiate": ValueRule(("false",), N_("begin the process with a message start event")),
    "eventGatewayType": ValueRule(("Exclusive",), N_("wait for several events behind a parallel gateway")),
    "behavior": ValueRule(("All",), N_("throw the event behind the activity")),
    "oneBehaviorEventRef": ValueRule((), N_("throw the event behind the activity")),
    "noneBehaviorEventRef": ValueRule((), N_("throw the event behind the activity")),
    "isImmediate": ValueRule(("true",), N_("a flow of an executable process is immediate")),
    "method": ValueRule(("##Compensate", "compensate"), N_("draw the steps that undo the work behind a cancel event")),
    "mustUnderstand": ValueRule(("false",), N_("express it in BPMN")),
}

BOOLEANS = frozenset({
    "cancelActivity", "instantiate", "isCollection", "isExecutable", "isForCompensation", "isImmediate",
    "isInterrupting", "isSequential", "mustUnderstand", "parallelMultiple", "testBefore", "triggeredByEvent",
})  # fmt: skip
"""The schema lets a truth value be written 1 or 0 as well; everything that reads a diagram here expects words."""

ONCE = frozenset({
    "completionCondition", "condition", "conditionExpression", "inputDataItem", "inputSet", "ioSpecification",
    "loopCardinality", "loopCondition", "loopDataInputRef", "loopDataOutputRef", "messagePath",
    "multiInstanceLoopCharacteristics", "outputDataItem", "outputSet", "script", "standardLoopCharacteristics",
})  # fmt: skip
"""Of these only the first in its parent would be read."""


KINDS = (
    N_("startEvent"), N_("endEvent"), N_("intermediateCatchEvent"), N_("intermediateThrowEvent"), N_("boundaryEvent"),
    N_("userTask"), N_("manualTask"), N_("scriptTask"), N_("serviceTask"), N_("sendTask"), N_("receiveTask"),
    N_("businessRuleTask"), N_("callActivity"), N_("subProcess"), N_("transaction"), N_("event sub-process"),
    N_("exclusiveGateway"), N_("inclusiveGateway"), N_("parallelGateway"), N_("eventBasedGateway"), N_("process"),
    N_("adHocSubProcess"), N_("complexGateway"), N_("correlationKey"), N_("correlationProperty"),
    N_("compensate"), N_("conditional"), N_("error"), N_("escalation"), N_("link"), N_("message"), N_("signal"),
    N_("terminate"), N_("timer"), N_("cancel"),
)  # fmt: skip
"""What a modeler shows by a name in the reader's language; a sentence says it as one (`Sentence(kind)`)."""


class Entry(NamedTuple):
    """How an element stands in one kind of parent. `attributes` are those besides `id`."""

    verdict: str
    attributes: frozenset[str]


def _expand(words: str) -> Iterator[str]:
    for word in words.split():
        if word in _GROUPS:
            yield from _expand(_GROUPS[word])
        else:
            yield word


def _read() -> dict[str, dict[str, Entry]]:
    found: dict[str, dict[str, Entry]] = {}
    for verdict, rows in _ROWS.items():
        for row in filter(None, map(str.strip, rows.splitlines())):
            names, _, rest = row.partition(" < ")
            parents, _, attributes = rest.partition(":")
            for name in names.split():
                for parent in _expand(parents):
                    found.setdefault(name, {})[parent] = Entry(verdict, frozenset(_expand(attributes)))
    return found


VOCABULARY: Mapping[str, Mapping[str, Entry]] = _read()
"""Element -> parent (`*` for any, `/` for the document) -> entry."""
